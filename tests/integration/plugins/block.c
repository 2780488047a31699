/* "wait NAME" says "waiting" and blocks until another connection says "go NAME". */
#include <pthread.h>

#include "plugin_abi.h"

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t changed = PTHREAD_COND_INITIALIZER;
static int waiting, gone;

static size_t on_message(void *own, const Server *server, int type, unsigned char *data, size_t size) {
  (void)own;
  if (size > 1 && data[0] == 'w') {
    send_text(server, "waiting", 7);
    pthread_mutex_lock(&lock);
    int turn = waiting++;
    while (gone <= turn) pthread_cond_wait(&changed, &lock);
    pthread_mutex_unlock(&lock);
    return send_text(server, "done", 4);
  }
  if (size > 1 && data[0] == 'g') {
    pthread_mutex_lock(&lock);
    gone = waiting;
    pthread_cond_broadcast(&changed);
    pthread_mutex_unlock(&lock);
    return send_text(server, "gone", 4);
  }
  return server->send(server, type, data, size);
}

static Plugin plugin = {sizeof(Plugin), 0, NULL, NULL, on_message, NULL};

EXPORT Plugin *block_init(void);
EXPORT Plugin *block_init(void) { return &plugin; }
