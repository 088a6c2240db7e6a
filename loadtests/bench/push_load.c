// A load client: sockets in one epoll loop. It counts the measured messages and their latencies.
//
// push_load PORT SOCKETS PATH CHANNEL: connects, and with a PATH shakes hands and subscribes to
// CHANNEL; "-" connects only. It prints the milliseconds until the last subscription. Then it reads
// lines of stdin: "reset" forgets the counts, "report" prints them as JSON.
#include "push_wire.h"

#define IN_FLIGHT 64
#define BUCKET_NS 20000
#define BUCKETS 1000000 // latencies up to 20 s
#define READ_BYTES 262144
#define KEPT_BYTES 65536

enum state { CONNECTING, UPGRADING, SUBSCRIBING, READY, CLOSED };

struct peer {
  int fd, kept;
  enum state state;
  char *rest; // the beginning of an incomplete frame
};

static const char *path, *channel;
static int port, sockets, started, ready, closed, epoll;
static struct peer *peers;
static uint32_t *histogram;
static uint64_t messages, octets;
static int64_t worst;

static void send_masked(int fd, const char *text) {
  // The mask 0 leaves the payload as it is.
  char frame[512] = {(char)0x81};
  int size = strlen(text), head = 6;
  if (size < 126) {
    frame[1] = (char)(0x80 | size);
  } else {
    frame[1] = (char)0xFE, frame[2] = (char)(size >> 8), frame[3] = (char)size, head = 8;
  }
  memcpy(frame + head, text, size);
  if (write(fd, frame, head + size) != head + size) fail("send");
}

static void start(void) {
  struct peer *peer = &peers[started++];
  struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons(port),
                                .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
  struct linger abort_on_close = {1, 0}; // leaves no socket in TIME_WAIT
  peer->fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
  if (peer->fd < 0) fail("socket");
  setsockopt(peer->fd, SOL_SOCKET, SO_LINGER, &abort_on_close, sizeof abort_on_close);
  if (connect(peer->fd, (void *)&address, sizeof address) && errno != EINPROGRESS) fail("connect");
  struct epoll_event event = {.events = EPOLLOUT, .data.ptr = peer};
  epoll_ctl(epoll, EPOLL_CTL_ADD, peer->fd, &event);
}

static void become_ready(struct peer *peer) {
  peer->state = READY;
  ready++;
  if (started < sockets) start();
}

static void connected(struct peer *peer) {
  struct epoll_event event = {.events = EPOLLIN, .data.ptr = peer};
  epoll_ctl(epoll, EPOLL_CTL_MOD, peer->fd, &event);
  if (path[0] == '-') {
    become_ready(peer);
    return;
  }
  char head[512];
  int size = snprintf(head, sizeof head,
                      "GET %s HTTP/1.1\r\nHost: bench\r\nUpgrade: websocket\r\n"
                      "Connection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"
                      "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n",
                      path);
  if (write(peer->fd, head, size) != size) fail("upgrade");
  peer->state = UPGRADING;
}

static void receive(struct peer *peer, const char *payload, int size, int64_t now) {
  const char *at = memchr(payload, '@', size);
  if (at && at + DIGITS + 1 < payload + size && at[DIGITS + 1] == '@') {
    int64_t latency = now - atoll(at + 1);
    int64_t bucket = latency / BUCKET_NS;
    histogram[bucket < 0 ? 0 : bucket < BUCKETS ? bucket : BUCKETS - 1]++;
    if (latency > worst) worst = latency;
    messages++;
  } else if (memmem(payload, size, "pusher:ping", 11)) {
    send_masked(peer->fd, "{\"event\":\"pusher:pong\",\"data\":{}}");
  } else if (memmem(payload, size, "connection_established", 22)) {
    char text[300];
    snprintf(text, sizeof text,
             "{\"event\":\"pusher:subscribe\",\"data\":{\"channel\":\"%s\"}}", channel);
    send_masked(peer->fd, text);
    peer->state = SUBSCRIBING;
  } else if (memmem(payload, size, "subscription_succeeded", 22)) {
    become_ready(peer);
  }
}

// Handle the complete frames. Returns the number of bytes that were used.
static int parse(struct peer *peer, const char *data, int size, int64_t now) {
  int used = 0;
  if (peer->state == UPGRADING) {
    const char *end = memmem(data, size, "\r\n\r\n", 4);
    if (!end) return 0;
    if (memcmp(data, "HTTP/1.1 101", 12)) fail("the handshake was refused");
    peer->state = SUBSCRIBING;
    used = end + 4 - data;
  }
  while (size - used >= 2) {
    int length = (unsigned char)data[used + 1], head = 2;
    if (length == 126) {
      if (size - used < 4) break;
      length = (unsigned char)data[used + 2] << 8 | (unsigned char)data[used + 3], head = 4;
    }
    if (size - used < head + length) break;
    receive(peer, data + used + head, length, now);
    used += head + length;
  }
  return used;
}

static void readable(struct peer *peer) {
  static char buffer[KEPT_BYTES + READ_BYTES];
  memcpy(buffer, peer->rest, peer->kept);
  int got = read(peer->fd, buffer + peer->kept, READ_BYTES);
  if (got <= 0) {
    if (got < 0 && errno == EAGAIN) return;
    close(peer->fd);
    peer->state = CLOSED, closed++;
    return;
  }
  octets += got;
  int size = peer->kept + got, used = parse(peer, buffer, size, now_ns());
  peer->kept = size - used;
  if (peer->kept > KEPT_BYTES) fail("a frame is too large");
  if (peer->kept) {
    peer->rest = realloc(peer->rest, peer->kept);
    memcpy(peer->rest, buffer + used, peer->kept);
  }
}

static double at_share(double share) {
  uint64_t wanted = messages * share, seen = 0;
  for (int at = 0; at < BUCKETS; at++)
    if ((seen += histogram[at]) > wanted) return (at + 1) * (BUCKET_NS / 1e6);
  return 0;
}

static int command(void) {
  char line[16];
  if (!fgets(line, sizeof line, stdin)) return 0;
  if (!strncmp(line, "reset", 5)) {
    memset(histogram, 0, BUCKETS * sizeof *histogram);
    messages = octets = worst = 0;
  }
  printf("{\"messages\":%llu,\"bytes\":%llu,\"closed\":%d,\"p50_ms\":%.2f,\"p99_ms\":%.2f,"
         "\"max_ms\":%.2f}\n",
         (unsigned long long)messages, (unsigned long long)octets, closed, at_share(0.5),
         at_share(0.99), worst / 1e6);
  fflush(stdout);
  return 1;
}

int main(int count, char **arguments) {
  if (count != 5) return 2;
  port = atoi(arguments[1]), sockets = atoi(arguments[2]);
  path = arguments[3], channel = arguments[4];
  raise_file_limit();
  setvbuf(stdin, NULL, _IONBF, 0);
  peers = calloc(sockets, sizeof *peers);
  histogram = calloc(BUCKETS, sizeof *histogram);
  epoll = epoll_create1(0);
  int64_t began = now_ns();
  while (started < sockets && started < IN_FLIGHT) start();
  struct epoll_event input = {.events = EPOLLIN, .data.ptr = NULL}, events[512];
  int announced = 0;
  for (;;) {
    int found = epoll_wait(epoll, events, 512, -1);
    for (int at = 0; at < found; at++) {
      struct peer *peer = events[at].data.ptr;
      if (!peer) {
        if (!command()) return 0;
      } else if (peer->state == CONNECTING) {
        connected(peer);
      } else if (peer->state != CLOSED) {
        readable(peer);
      }
    }
    if (!announced && ready == sockets) {
      announced = 1;
      printf("%.1f\n", (now_ns() - began) / 1e6);
      fflush(stdout);
      epoll_ctl(epoll, EPOLL_CTL_ADD, 0, &input);
    }
  }
}
