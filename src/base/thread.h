// What each thread has of its own.
#pragma once

// A variable that is found by one instruction, where the compiler's own choice for a shared object
// would be a call. For little: a module that is loaded late gets some hundred bytes in all.
#define FAST_THREAD_LOCAL __attribute__((tls_model("initial-exec"))) thread_local constinit
