// What the files of this layer share. This layer is the only one that sees httpd and APR.
#pragma once
#include <httpd.h>  // before the other headers of httpd, which need it

#include <apr_pools.h>
#include <http_config.h>
#include <http_log.h>

#include <new>
#include <utility>

extern "C" module AP_MODULE_DECLARE_DATA websocket_module;
APLOG_USE_MODULE(websocket);

namespace mws {

// Makes an object that lives as long as the pool.
template <class T, class... Arguments>
T* pool_new(apr_pool_t* pool, Arguments&&... arguments) {
  T* object = new (apr_palloc(pool, sizeof(T))) T(std::forward<Arguments>(arguments)...);
  apr_pool_cleanup_register(
      pool, object,
      [](void* held) -> apr_status_t {
        static_cast<T*>(held)->~T();
        return APR_SUCCESS;
      },
      apr_pool_cleanup_null);
  return object;
}

}  // namespace mws
