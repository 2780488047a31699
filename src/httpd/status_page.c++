#include "src/httpd/status_page.h"

// A file as it is, between two symbols. Paths are from the top folder, where the compiler runs; the
// Makefile has this object depend on them.
#define SYMBOL(symbol, what) ".globl " #symbol "\n.hidden " #symbol "\n" #symbol ":" what "\n"
#define EMBED(name, path)                                                                       \
  extern "C" __attribute__((visibility("hidden"))) const char mws_##name[], mws_##name##_end[]; \
  asm(".pushsection .rodata\n" SYMBOL(mws_##name, ".incbin \"" path "\"")                       \
          SYMBOL(mws_##name##_end, "") ".popsection")

EMBED(status_html, "src/httpd/status/status.html");
EMBED(status_css, "src/httpd/status/status.css");
EMBED(status_js, "src/httpd/status/status.js");
EMBED(figures_js, "src/httpd/status/figures.js");
EMBED(feed_js, "src/httpd/status/feed.js");
EMBED(history_js, "src/httpd/status/history.js");
EMBED(chart_js, "src/httpd/status/chart.js");
EMBED(lists_js, "src/httpd/status/lists.js");
EMBED(admin_js, "src/httpd/status/admin.js");
EMBED(common_css, "www/common.css");
EMBED(icon_svg, "www/icon.svg");

namespace mws {

namespace {

struct Asset {
  std::string_view name;
  const char* type;
  const char* begin;
  const char* end;
};

constexpr char kScript[] = "text/javascript; charset=utf-8";
constexpr char kStyle[] = "text/css; charset=utf-8";

constexpr Asset kAssets[] = {
    {"status.html", "text/html; charset=utf-8", mws_status_html, mws_status_html_end},
    {"status.css", kStyle, mws_status_css, mws_status_css_end},
    {"status.js", kScript, mws_status_js, mws_status_js_end},
    {"figures.js", kScript, mws_figures_js, mws_figures_js_end},
    {"feed.js", kScript, mws_feed_js, mws_feed_js_end},
    {"history.js", kScript, mws_history_js, mws_history_js_end},
    {"chart.js", kScript, mws_chart_js, mws_chart_js_end},
    {"lists.js", kScript, mws_lists_js, mws_lists_js_end},
    {"admin.js", kScript, mws_admin_js, mws_admin_js_end},
    {"common.css", kStyle, mws_common_css, mws_common_css_end},
    {"icon.svg", "image/svg+xml", mws_icon_svg, mws_icon_svg_end},
};

const Asset* find(std::string_view name) {
  for (const Asset& each : kAssets) {
    if (each.name == name) return &each;
  }
  return nullptr;
}

}  // namespace

std::string_view status_asset(std::string_view name) {
  const Asset* asset = find(name);
  return asset ? std::string_view(asset->begin, asset->end - asset->begin) : std::string_view();
}

const char* status_asset_type(std::string_view name) {
  const Asset* asset = find(name);
  return asset ? asset->type : "application/octet-stream";
}

}  // namespace mws
