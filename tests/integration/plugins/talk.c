/* Does what it is told, by the headers of the opening handshake and by each text. */
#include <apr_strings.h>
#include <stdlib.h>

#include "plugin_abi.h"

typedef struct Talk {
  char name[200];
  int messages;
} Talk;

static void *on_connect(const Server *server) {
  request_rec *r = server->request(server);
  const char *set = server->header_get(server, "X-Set"), *protocol = server->header_get(server, "x-protocol");
  Talk *talk;
  if (server->size != sizeof(Server) || server->version != 1) return NULL;
  server->header_set(server, "X-Plugin", "one");
  server->header_set(server, "x-plugin", set ? set : "two");
  if (server->header_get(server, "X-Forge")) server->header_set(server, "X-Forged", "a\r\nX-Split: yes");
  if (server->header_get(server, "X-Refuse")) return NULL;
  if (protocol) server->protocol_set(server, protocol);
  talk = calloc(1, sizeof *talk);
  apr_cpystrn(talk->name, r->args ? r->args : "", sizeof talk->name);
  if (server->header_get(server, "X-Early")) {
    send_text(server, "early one", 9);
    send_text(server, "early two", 9);
  }
  if (server->header_get(server, "X-Early-Close")) server->close(server);
  return talk;
}

static int is(const char *word, const unsigned char *data, size_t size) { return size == strlen(word) && !memcmp(word, data, size); }

static size_t say(const Server *server, const char *text) { return send_text(server, text, strlen(text)); }

static void say_number(const Server *server, size_t number) {
  char text[32];
  apr_snprintf(text, sizeof text, "%" APR_SIZE_T_FMT, number);
  say(server, text);
}

static size_t on_message(void *own, const Server *server, int type, unsigned char *data, size_t size) {
  Talk *talk = own;
  request_rec *r = server->request(server);
  talk->messages++;
  if (is("address", data, size)) return say(server, r ? apr_pstrcat(r->pool, r->useragent_ip, " ", r->uri, NULL) : "none");
  if (is("header", data, size)) return say(server, server->header_get(server, "x-ASKED"));
  if (is("no header", data, size)) return say(server, server->header_get(server, "X-None") ? "there" : "none");
  if (is("protocols", data, size)) {
    char text[200] = "";
    for (size_t i = 0; i < server->protocol_count(server); i++) strcat(strcat(text, server->protocol_index(server, i)), ";");
    return say(server, strcat(text, server->protocol_index(server, server->protocol_count(server)) ? "more" : "end"));
  }
  if (is("too late", data, size)) {
    server->header_set(server, "X-Late", "1");
    server->protocol_set(server, "chat");
    return say(server, "nothing happened");
  }
  if (is("overwrite", data, size)) { /* the memory is the plugin's until it returns */
    server->send(server, type, data, size);
    memset(data, '?', size);
    return server->send(server, type, data, size);
  }
  if (is("not utf-8", data, size)) {
    say_number(server, send_text(server, "\xff", 1));
    say_number(server, send_text(server, "\xc3", 1));
    return 0;
  }
  if (is("no such type", data, size)) {
    say_number(server, server->send(server, 77, data, size));
    return 0;
  }
  if (is("ping", data, size)) return server->send(server, PING, data, size);
  if (is("pong", data, size)) return server->send(server, PONG, data, size);
  if (is("nothing", data, size)) return server->send(server, BINARY, NULL, 0);
  if (is("close", data, size)) {
    server->close(server);
    if (say(server, "after the close")) SAY("talk: sent after the close");
    return 0;
  }
  if (is("close frame", data, size)) return server->send(server, CLOSE, (const unsigned char *)"\x10\x68" "bye", 5);
  if (is("empty close frame", data, size)) return server->send(server, CLOSE, NULL, 0);
  if (is("bad close frame", data, size)) {
    say_number(server, server->send(server, CLOSE, (const unsigned char *)"\x03\xed", 2)); /* 1005 */
    return 0;
  }
  if (is("much", data, size)) { /* 64 MiB, in one call */
    static unsigned char part[65536];
    for (int i = 0; i < 1024; i++)
      if (server->send(server, BINARY, part, sizeof part) != sizeof part) {
        SAY("talk: not all was sent");
        return 0;
      }
    return say(server, "all of it");
  }
  return server->send(server, type, data, size);
}

static void on_disconnect(void *own, const Server *server) {
  Talk *talk = own;
  request_rec *r = server->request(server);
  size_t sent = send_text(server, "too late", 8);
  SAY("talk: disconnected %s after %d, sent %" APR_SIZE_T_FMT ", %s", talk->name, talk->messages, sent,
      r ? r->useragent_ip : "no request");
  free(talk);
}

static void destroy(Plugin *plugin) { (void)plugin; }

static Plugin plugin = {sizeof(Plugin), 0, destroy, on_connect, on_message, on_disconnect};

EXPORT Plugin *talk_init(void);
EXPORT Plugin *talk_init(void) { return &plugin; }
