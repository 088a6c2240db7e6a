// The floor of a fan-out: a bare loop of write(2) of the same frame to every socket.
//
// push_floor SOCKETS RATE TICKS JOINED: listens, prints its port, accepts SOCKETS connections and
// waits for a line on stdin. Then, RATE times a second and TICKS times in all, it writes JOINED
// frames in one write to each socket, and prints its CPU time (user and system) in nanoseconds.
#include "push_wire.h"

static const char HEAD[] = "{\"event\":\"m\",\"channel\":\"bench\",\"data\":\"@";

static void fill(char *frame) {
  int payload = FRAME_BYTES - 4, head = sizeof HEAD - 1;
  frame[0] = (char)0x81, frame[1] = 126;
  frame[2] = (char)(payload >> 8), frame[3] = (char)payload;
  memset(frame + 4, 'x', payload);
  memcpy(frame + 4, HEAD, head);
  frame[4 + head + DIGITS] = '@';
  memcpy(frame + FRAME_BYTES - 2, "\"}", 2);
}

static void stamp(char *frame) {
  char digits[DIGITS + 1];
  snprintf(digits, sizeof digits, "%019lld", (long long)now_ns());
  memcpy(frame + 4 + sizeof HEAD - 1, digits, DIGITS);
}

static int64_t cpu_ns(void) {
  struct timespec used;
  clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &used);
  return used.tv_sec * 1000000000LL + used.tv_nsec;
}

static int listening(void) {
  struct sockaddr_in address = {.sin_family = AF_INET,
                                .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
  socklen_t size = sizeof address;
  int listener = socket(AF_INET, SOCK_STREAM, 0);
  if (bind(listener, (void *)&address, size) || listen(listener, 4096)) fail("listen");
  getsockname(listener, (void *)&address, &size);
  printf("%d\n", ntohs(address.sin_port));
  fflush(stdout);
  return listener;
}

int main(int count, char **arguments) {
  if (count != 5) return 2;
  int sockets = atoi(arguments[1]), ticks = atoi(arguments[3]), joined = atoi(arguments[4]);
  int64_t interval = (int64_t)(1e9 / atof(arguments[2]));
  raise_file_limit();
  int listener = listening(), one = 1;
  int *peers = malloc(sockets * sizeof(int));
  for (int at = 0; at < sockets; at++) {
    if ((peers[at] = accept(listener, NULL, NULL)) < 0) fail("accept");
    setsockopt(peers[at], IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
  }
  char line[16], *frames = malloc(joined * FRAME_BYTES);
  for (int at = 0; at < joined; at++) fill(frames + at * FRAME_BYTES);
  if (!fgets(line, sizeof line, stdin)) return 1;

  int64_t cpu = cpu_ns(), due = now_ns();
  for (int tick = 0; tick < ticks; tick++) {
    struct timespec until = {due / 1000000000, due % 1000000000};
    clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &until, NULL);
    for (int at = 0; at < joined; at++) stamp(frames + at * FRAME_BYTES);
    for (int at = 0; at < sockets; at++)
      if (write(peers[at], frames, joined * FRAME_BYTES) != joined * FRAME_BYTES) fail("write");
    due += interval;
  }
  printf("%lld\n", (long long)(cpu_ns() - cpu));
  fflush(stdout);
  // The client closes first.
  return fgets(line, sizeof line, stdin) ? 0 : 0;
}
