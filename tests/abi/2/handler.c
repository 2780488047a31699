/* A handler as it was written for ABI 2: it uses all that ABI 1 did not have. It is compiled
   against the header next to it and must work with every later server. */
#include "handler_abi.h"

#include <stdio.h>
#include <string.h>

static const ws_host* host;

static void say(ws_handle to, const char* what, const char* topic, long result) {
  char line[300];
  snprintf(line, sizeof line, "%s %s %ld", what, topic, result);
  host->handle_send(to, WS_TEXT, line, strlen(line), 0);
}

static void done(void* context, const ws_published* published) {
  ws_handle to = {(uint64_t)(size_t)context};
  if (published->size < sizeof *published || !published->id) return;
  say(to, "done", published->result == WS_OK ? "ok" : "not", (long)published->subscribers);
}

static void open(void* state, ws_connection* connection) {
  ws_handle handle = host->handle(connection);
  ws_subscription last = {sizeof last, 0, 0, 1}, enveloped = {sizeof enveloped, WS_ENVELOPED, 1, 0};
  ws_publishing how = {sizeof how, WS_UNCOMPRESSED, done, (void*)(size_t)handle.id};
  ws_publishing passing = {sizeof passing, WS_TRANSIENT, NULL, NULL};
  (void)state;
  host->publish(host, "one", 3, WS_TEXT, "kept", 4, &how);
  host->publish(host, "one", 3, WS_BINARY, "passing", 7, &passing);
  host->publish(host, "two", 3, WS_TEXT, "second", 6, NULL);
  host->subscribe(connection, "one", 3, &last);
  host->handle_subscribe(handle, "two", 3, &enveloped);
  host->subscribe(connection, "three", 5, NULL);
  host->unsubscribe(connection, "three", 5);
  host->handle_subscribe(handle, "four", 4, NULL);
  host->handle_unsubscribe(handle, "four", 4);
}

static void subscribed(void* state, ws_connection* connection, const char* topic, size_t topic_size,
                       ws_result result, uint64_t id) {
  (void)state, (void)topic_size;
  say(host->handle(connection), result == WS_OK && id ? "subscribed" : "limit", topic, result);
}

static void gap(void* state, ws_connection* connection, const char* topic, size_t topic_size) {
  (void)state;
  say(host->handle(connection), "gap", topic, (long)topic_size);
}

static void message(void* state, ws_connection* connection, ws_type type, const void* data,
                    size_t size) {
  (void)state;
  if (host->publish(host, "one", 3, type, data, size, NULL) != WS_LOCAL_ONLY) return;
  host->close(connection, 1000, NULL, 0);
}

WS_EXPORT const ws_handler* websocket_handler(const ws_host* given);
const ws_handler* websocket_handler(const ws_host* given) {
  static ws_handler table;
  if (given->size < sizeof(ws_host) || given->abi < WS_ABI_VERSION) return NULL;
  host = given;
  table.size = sizeof table;
  table.abi = WS_ABI_VERSION;
  table.open = open;
  table.message = message;
  table.subscribed = subscribed;
  table.gap = gap;
  return &table;
}
