/* A thread for each connection counts, from on_connect to on_disconnect; its state lies in the request's pool. "reset" begins anew. */
#include <apr_strings.h>
#include <apr_thread_cond.h>
#include <apr_thread_mutex.h>
#include <apr_thread_proc.h>

#include "plugin_abi.h"

typedef struct Counter {
  const Server *server;
  apr_thread_t *thread;
  apr_thread_mutex_t *lock;
  apr_thread_cond_t *changed;
  int number, ends;
} Counter;

static void *APR_THREAD_FUNC count(apr_thread_t *thread, void *data) {
  Counter *counter = data;
  (void)thread;
  apr_thread_mutex_lock(counter->lock);
  while (!counter->ends) {
    char text[32];
    int size = apr_snprintf(text, sizeof text, "%d", counter->number++);
    apr_thread_mutex_unlock(counter->lock);
    send_text(counter->server, text, (size_t)size);
    apr_thread_mutex_lock(counter->lock);
    if (!counter->ends) apr_thread_cond_timedwait(counter->changed, counter->lock, 1000);
  }
  apr_thread_mutex_unlock(counter->lock);
  return NULL;
}

static void *on_connect(const Server *server) {
  apr_pool_t *pool = server->request(server)->pool;
  Counter *counter = apr_pcalloc(pool, sizeof *counter);
  counter->server = server;
  apr_thread_mutex_create(&counter->lock, APR_THREAD_MUTEX_DEFAULT, pool);
  apr_thread_cond_create(&counter->changed, pool);
  if (apr_thread_create(&counter->thread, NULL, count, counter, pool) != APR_SUCCESS) return NULL;
  return counter;
}

static size_t on_message(void *own, const Server *server, int type, unsigned char *data, size_t size) {
  Counter *counter = own;
  (void)server;
  if (type != TEXT || size != 5 || memcmp(data, "reset", 5)) return 0;
  apr_thread_mutex_lock(counter->lock);
  counter->number = 0;
  apr_thread_cond_signal(counter->changed);
  apr_thread_mutex_unlock(counter->lock);
  return size;
}

static void on_disconnect(void *own, const Server *server) {
  Counter *counter = own;
  apr_status_t status;
  apr_thread_mutex_lock(counter->lock);
  counter->ends = 1;
  apr_thread_cond_signal(counter->changed);
  apr_thread_mutex_unlock(counter->lock);
  apr_thread_join(&status, counter->thread);
  SAY("counter: disconnected %s", server->request(server)->args);
}

static Plugin plugin = {sizeof(Plugin), 0, NULL, on_connect, on_message, on_disconnect};

EXPORT Plugin *counter_init(void);
EXPORT Plugin *counter_init(void) { return &plugin; }
