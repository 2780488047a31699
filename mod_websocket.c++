// mod_websocket: WebSockets (RFC 6455) inside Apache httpd. The module's record and hooks.
#include "src/httpd/module.h"

#include <apr_optional_hooks.h>
#include <http_connection.h>
#include <http_protocol.h>
#include <http_request.h>
#include <mod_status.h>
#include <mpm_common.h>

#include "src/httpd/capacity.h"
#include "src/httpd/config.h"
#include "src/httpd/connection_log.h"
#include "src/httpd/detach.h"
#include "src/httpd/lifecycle.h"
#include "src/httpd/publish.h"
#include "src/httpd/status.h"
#include "src/httpd/upgrade.h"

static void register_hooks(apr_pool_t*) {
  // Before mod_ssl's, so that the hold is placed below everything that a connection has.
  static const char* const after_us[] = {"mod_ssl.c", nullptr};
  ap_hook_pre_config(mws::begin_configuration, nullptr, nullptr, APR_HOOK_MIDDLE);
  ap_hook_check_config(mws::check_configuration, nullptr, nullptr, APR_HOOK_MIDDLE);
  ap_hook_post_config(mws::prepare_children, nullptr, nullptr, APR_HOOK_MIDDLE);
  ap_hook_child_status(mws::child_status_changed, nullptr, nullptr, APR_HOOK_MIDDLE);
  ap_hook_child_init(mws::start_child, nullptr, nullptr, APR_HOOK_MIDDLE);
  ap_hook_child_stopping(mws::child_is_stopping, nullptr, nullptr, APR_HOOK_MIDDLE);
  ap_hook_pre_connection(mws::place_hold, nullptr, after_us, APR_HOOK_REALLY_FIRST);
  using mws::ssl_HOOK_pre_handshake_t;  // as the macro wants it
  APR_OPTIONAL_HOOK(ssl, pre_handshake, mws::remember_tls_session, nullptr, nullptr,
                    APR_HOOK_MIDDLE);
  ap_hook_type_checker(mws::ignore_files, nullptr, nullptr, APR_HOOK_REALLY_FIRST);
  APR_OPTIONAL_HOOK(ap, status_hook, mws::add_to_server_status, nullptr, nullptr, APR_HOOK_MIDDLE);
  ap_hook_handler(mws::serve_status, nullptr, nullptr, APR_HOOK_REALLY_FIRST);
  // Before mod_proxy's, whatever the order of LoadModule.
  ap_hook_handler(mws::upgrade, nullptr, nullptr, APR_HOOK_REALLY_FIRST);
  ap_hook_handler(mws::publish_over_http, nullptr, nullptr, APR_HOOK_MIDDLE);
  ap_hook_handler(mws::answer_plain_request, nullptr, nullptr, APR_HOOK_LAST);
}

extern "C" __attribute__((visibility("default"))) module AP_MODULE_DECLARE_DATA websocket_module;

module websocket_module = {
    STANDARD20_MODULE_STUFF,
    mws::create_location_config,
    mws::merge_location_config,
    mws::create_connection_log_choice,
    mws::merge_connection_log_choice,
    mws::kDirectives,
    register_hooks,
    0,
};
