// Who may publish over HTTP. httpd grants what nobody has said anything about, and a DocumentRoot
// grants to all; neither must open a way to publish. So it is closed, unless a Require was written
// for it: in the section that has SetHandler websocket-publish, or in one that is merged later.
//
// SetHandler, Require and AuthMerging are httpd's own directives; this module is told of them too,
// and notes what it has to know.
#pragma once
#include "src/httpd/module.h"

namespace mws {

constexpr const char* kPublishHandler = "websocket-publish";

// What a section says, or sections that are merged.
struct PublishAccess {
  enum Merging : uint8_t { not_set, off, both, either };  // AuthMerging; "And", "Or"

  bool sets_handler = false;     // there is a SetHandler
  bool publishes = false;        // it is this one, and stands in the server's configuration
  const char* prefix = nullptr;  // the path of that section, if it is a <Location> with a plain one
  Merging merging = not_set;
  bool has_require = false;
  // A bit for each method for which a Require stands there. Those in .htaccess do not count, and
  // those from before the SetHandler.
  apr_int64_t methods = 0;
};

// As mod_authz_core merges its own.
PublishAccess merge_publish_access(const PublishAccess& base, const PublishAccess& add);

// Whether a Require that counts says who may use the request's method.
bool is_required(request_rec* r, const PublishAccess& access);

// Why nobody may publish there by this request, and what to write; nullptr if it is for httpd to
// say who may.
const char* why_closed(request_rec* r, const PublishAccess& access);

// Directives.
const char* note_set_handler(cmd_parms* cmd, void* config, const char* handler);
const char* note_require(cmd_parms* cmd, void* config, const char* arguments);
const char* note_auth_merging(cmd_parms* cmd, void* config, const char* mode);

}  // namespace mws
