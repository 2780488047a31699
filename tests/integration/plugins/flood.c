/* Threads that send without a pause, each numbered messages "THREAD NUMBER xxx…", from on_connect to on_disconnect. What there is to be
   is in the query: NAME,THREADS,MESSAGES,BYTES (no messages: without end). It uses nothing of the request later, so it may be detached. */
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>

#include "plugin_abi.h"

enum { MOST = 16, LONGEST = 100000 };

typedef struct Flood Flood;
typedef struct Sender {
  Flood *flood;
  pthread_t thread;
  int index, sent;
} Sender;
struct Flood {
  const Server *server;
  char name[100];
  int threads, messages, size;
  pthread_mutex_t lock;
  int ends;
  Sender senders[MOST];
};

static int ends(Flood *flood) {
  pthread_mutex_lock(&flood->lock);
  int result = flood->ends;
  pthread_mutex_unlock(&flood->lock);
  return result;
}

static void *flood_on(void *data) {
  Sender *sender = data;
  Flood *flood = sender->flood;
  char *text = malloc(LONGEST);
  memset(text, 'x', LONGEST);
  while (!ends(flood) && (!flood->messages || sender->sent < flood->messages)) {
    int head = snprintf(text, 40, "%d %d ", sender->index, sender->sent);
    text[head] = 'x';
    if (send_text(flood->server, text, (size_t)flood->size) != (size_t)flood->size) break;
    sender->sent++;
  }
  memset(text, '!', LONGEST); /* what was sent is a copy */
  free(text);
  return NULL;
}

static void *on_connect(const Server *server) {
  Flood *flood = calloc(1, sizeof *flood);
  const char *asked = server->request(server)->args;
  flood->server = server;
  pthread_mutex_init(&flood->lock, NULL);
  if (!asked || sscanf(asked, "%99[^,],%d,%d,%d", flood->name, &flood->threads, &flood->messages, &flood->size) != 4 ||
      flood->threads > MOST || flood->size > LONGEST || flood->size < 30) {
    free(flood);
    return NULL;
  }
  for (int i = 0; i < flood->threads; i++) {
    flood->senders[i].flood = flood;
    flood->senders[i].index = i;
    pthread_create(&flood->senders[i].thread, NULL, flood_on, &flood->senders[i]);
  }
  return flood;
}

static size_t on_message(void *own, const Server *server, int type, unsigned char *data, size_t size) {
  (void)own;
  return server->send(server, type, data, size);
}

static void on_disconnect(void *own, const Server *server) {
  Flood *flood = own;
  (void)server;
  pthread_mutex_lock(&flood->lock);
  flood->ends = 1;
  pthread_mutex_unlock(&flood->lock);
  for (int i = 0; i < flood->threads; i++) pthread_join(flood->senders[i].thread, NULL);
  SAY("flood: disconnected %s", flood->name);
  pthread_mutex_destroy(&flood->lock);
  free(flood);
}

static Plugin plugin = {sizeof(Plugin), 0, NULL, on_connect, on_message, on_disconnect};

EXPORT Plugin *flood_init(void);
EXPORT Plugin *flood_init(void) { return &plugin; }
