/* The ground truth of the benchmarks: a server that knows when it wrote, and a reader that shows the limit.
 *
 *   ground_truth serve FIRST_MS GAP_MS CHUNKS   prints its port; GET /log gives, and forgets, what it wrote and when
 *   ground_truth read PORT STREAMS              reads STREAMS streams that begin together; prints one line each
 *
 * A stream is one of `openai-chat`: the head, the role and the first text in one write, then a text a write, then the end
 * in one write. All stamps are nanoseconds of CLOCK_MONOTONIC, taken before write() and after read(). A GAP_MS of 0 writes as
 * fast as the client reads. One thread, epoll, one timer; loopback only.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/tcp.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/timerfd.h>
#include <time.h>
#include <unistd.h>

#define MAX_FD 70000
#define DELTA "data: {\"id\":\"chatcmpl-CbXq4vVJ3nqOZ0hFkqkXbq1oW2u8L\",\"object\":\"chat.completion.chunk\"," \
  "\"created\":1763000000,\"model\":\"gpt-4o-mini-2024-07-18\",\"service_tier\":\"default\"," \
  "\"system_fingerprint\":\"fp_560af6e559\",\"choices\":[{\"index\":0,\"delta\":%s,\"logprobs\":null," \
  "\"finish_reason\":%s}],\"usage\":null,\"obfuscation\":\"mVbQ4rTz\"}\n\n"

#define WORDS 8
static const char *words[WORDS] = {" word", " the", " and", ".\\n\\n", " \\\"quoted\\\"", " na\\u00efve", " \u4e2d\u6587", " a-longer-word"};

static int64_t now_ns(void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return t.tv_sec * 1000000000LL + t.tv_nsec;
}

static int chunk(char *out, const char *delta, const char *finish) {
  char body[1024];
  int n = snprintf(body, sizeof body, DELTA, delta, finish);
  return sprintf(out, "%x\r\n%s\r\n", n, body);
}

/* The server */

struct stream {
  int sent;         /* texts so far */
  int active;
  int64_t due_ns, asked_ns;
  int64_t *at_ns;
  int got;          /* bytes of the request so far */
  char request[65536];
};

static struct stream *streams[MAX_FD];
static int queue[1 << 20], head, tail;          /* descriptors in the order of their due times */
static int first_queue[1 << 20], first_head, first_tail;
static char first_write[4096], text_write[WORDS][2048], end_write[2048];
static int first_size, text_size[WORDS], end_size, chunks;
static int64_t first_ns, gap_ns;
static FILE *journal;
static char *journal_text;
static size_t journal_size;

static int put(int fd, const char *data, int size) {
  while (size > 0) {
    ssize_t n = send(fd, data, size, MSG_NOSIGNAL);
    if (n < 0) {
      if (errno == EAGAIN) { usleep(20); continue; }
      return -1;
    }
    data += n;
    size -= n;
  }
  return 0;
}

static void drop(int fd) {
  struct stream *s = streams[fd];
  if (s) { free(s->at_ns); free(s); streams[fd] = NULL; }
  close(fd);
}

static void log_stream(struct stream *s) {
  fprintf(journal, "%lld", (long long)s->asked_ns);
  for (int i = 0; i < chunks; i++) fprintf(journal, " %lld", (long long)s->at_ns[i]);
  fputc('\n', journal);
}

static void answer_log(int fd) {
  fflush(journal);
  char top[128];
  int n = sprintf(top, "HTTP/1.1 200 OK\r\nContent-Length: %zu\r\n\r\n", journal_size);
  put(fd, top, n);
  put(fd, journal_text, journal_size);
  fclose(journal);
  free(journal_text);
  journal = open_memstream(&journal_text, &journal_size);
}

static void asked(int fd, struct stream *s) {
  s->request[s->got] = 0;
  char *body = strstr(s->request, "\r\n\r\n");
  if (!body) return;
  char *length = strcasestr(s->request, "content-length:");
  int wanted = (int)(body + 4 - s->request) + (length ? atoi(length + 15) : 0);
  if (s->got < wanted) return;
  s->got = 0;
  if (!strncmp(s->request, "GET /log", 8)) { answer_log(fd); return; }
  s->asked_ns = now_ns();
  s->sent = 0;
  s->active = 1;
  s->due_ns = s->asked_ns + first_ns;
  first_queue[first_tail++ & 0xfffff] = fd;
}

/* Write what is due; returns -1 where the stream has ended. */
static int step(int fd, struct stream *s) {
  if (s->sent == chunks) {
    s->active = 0;
    put(fd, end_write, end_size);
    log_stream(s);
    return -1;
  }
  s->at_ns[s->sent] = now_ns();
  int failed = s->sent ? put(fd, text_write[s->sent % WORDS], text_size[s->sent % WORDS]) : put(fd, first_write, first_size);
  s->sent++;
  if (failed) { s->active = 0; return -1; }
  s->due_ns += gap_ns;
  return 0;
}

static int serve(int argc, char **argv) {
  first_ns = (argc > 2 ? atof(argv[2]) : 200) * 1e6;
  gap_ns = (argc > 3 ? atof(argv[3]) : 20) * 1e6;
  chunks = argc > 4 ? atoi(argv[4]) : 50;
  first_size = sprintf(first_write, "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n");
  first_size += chunk(first_write + first_size, "{\"role\":\"assistant\",\"content\":\"\",\"refusal\":null}", "null");
  first_size += chunk(first_write + first_size, "{\"content\":\" word\"}", "null");
  for (int i = 0; i < WORDS; i++) {
    char delta[128];
    sprintf(delta, "{\"content\":\"%s\"}", words[i]);
    text_size[i] = chunk(text_write[i], delta, "null");
  }
  end_size = chunk(end_write, "{}", "\"stop\"");
  end_size += sprintf(end_write + end_size, "e\r\ndata: [DONE]\n\n\r\n0\r\n\r\n");
  journal = open_memstream(&journal_text, &journal_size);
  int listening = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
  struct sockaddr_in where = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
  bind(listening, (struct sockaddr *)&where, sizeof where);
  listen(listening, 4096);
  socklen_t size = sizeof where;
  getsockname(listening, (struct sockaddr *)&where, &size);
  printf("%d\n", ntohs(where.sin_port));
  fflush(stdout);
  int poll = epoll_create1(0), timer = timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK);
  struct epoll_event e = {.events = EPOLLIN, .data.fd = listening};
  epoll_ctl(poll, EPOLL_CTL_ADD, listening, &e);
  e.data.fd = timer;
  epoll_ctl(poll, EPOLL_CTL_ADD, timer, &e);
  struct epoll_event ready[512];
  for (;;) {
    int busy = 0;
    int64_t next_ns = INT64_MAX;
    for (int q = 0; q < 2; q++) {
      int *fds = q ? queue : first_queue, *from = q ? &head : &first_head, *to = q ? &tail : &first_tail;
      for (int left = *to - *from; left > 0; left--) {
        int fd = fds[*from & 0xfffff];
        struct stream *s = streams[fd];
        if (!s || !s->active) { (*from)++; continue; }
        if (s->due_ns > now_ns()) { if (s->due_ns < next_ns) next_ns = s->due_ns; break; }
        (*from)++;
        if (!step(fd, s)) { queue[tail++ & 0xfffff] = fd; busy |= gap_ns == 0; if (s->due_ns < next_ns) next_ns = s->due_ns; }
      }
    }
    if (next_ns != INT64_MAX && !busy) {
      struct itimerspec at = {.it_value = {.tv_sec = next_ns / 1000000000LL, .tv_nsec = next_ns % 1000000000LL}};
      timerfd_settime(timer, TFD_TIMER_ABSTIME, &at, NULL);
    }
    int n = epoll_wait(poll, ready, 512, busy ? 0 : -1);
    for (int i = 0; i < n; i++) {
      int fd = ready[i].data.fd;
      if (fd == timer) {
        uint64_t fired;
        if (read(timer, &fired, sizeof fired) < 0) continue;
      } else if (fd == listening) {
        int new;
        while ((new = accept4(listening, NULL, NULL, SOCK_NONBLOCK)) >= 0) {
          int one = 1;
          setsockopt(new, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
          streams[new] = calloc(1, sizeof(struct stream));
          streams[new]->at_ns = calloc(chunks, sizeof(int64_t));
          e.data.fd = new;
          epoll_ctl(poll, EPOLL_CTL_ADD, new, &e);
        }
      } else {
        struct stream *s = streams[fd];
        ssize_t got = read(fd, s->request + s->got, sizeof s->request - 1 - s->got);
        if (got <= 0) { drop(fd); continue; }
        s->got += got;
        asked(fd, s);
      }
    }
  }
  return 0;
}

/* The reader: a stamp after each read, and nothing else */

static int read_streams(int argc, char **argv) {
  int port = atoi(argv[2]), count = argc > 3 ? atoi(argv[3]) : 100;
  struct sockaddr_in where = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK), .sin_port = htons(port)};
  int64_t **at_ns = calloc(MAX_FD, sizeof *at_ns), *sent_ns = calloc(MAX_FD, sizeof *sent_ns);
  int *reads = calloc(MAX_FD, sizeof *reads), *fds = calloc(count, sizeof *fds);
  int poll = epoll_create1(0), left = count;
  for (int i = 0; i < count; i++) {
    int fd = fds[i] = socket(AF_INET, SOCK_STREAM, 0), one = 1;
    if (connect(fd, (struct sockaddr *)&where, sizeof where)) return perror("connect"), 1;
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    fcntl(fd, F_SETFL, O_NONBLOCK);
    at_ns[fd] = calloc(1 << 12, sizeof(int64_t));
    struct epoll_event e = {.events = EPOLLIN, .data.fd = fd};
    epoll_ctl(poll, EPOLL_CTL_ADD, fd, &e);
  }
  const char *ask = "POST /v1/chat/completions HTTP/1.1\r\nHost: h\r\nContent-Length: 2\r\n\r\n{}";
  for (int i = 0; i < count; i++) {
    sent_ns[fds[i]] = now_ns();
    if (write(fds[i], ask, strlen(ask)) < 0) return perror("write"), 1;
  }
  static char buffer[1 << 18];
  struct epoll_event ready[512];
  while (left) {
    int n = epoll_wait(poll, ready, 512, -1);
    for (int i = 0; i < n; i++) {
      int fd = ready[i].data.fd;
      ssize_t got = recv(fd, buffer, sizeof buffer, 0);
      if (got <= 0) return fprintf(stderr, "closed early\n"), 1;
      if (got >= 5 && !memcmp(buffer + got - 5, "0\r\n\r\n", 5)) { left--; continue; }
      if (reads[fd] < 1 << 12) at_ns[fd][reads[fd]++] = now_ns();
    }
  }
  for (int i = 0; i < count; i++) {
    printf("%lld", (long long)sent_ns[fds[i]]);
    for (int k = 0; k < reads[fds[i]]; k++) printf(" %lld", (long long)at_ns[fds[i]][k]);
    putchar('\n');
  }
  return 0;
}

int main(int argc, char **argv) {
  struct rlimit files;
  getrlimit(RLIMIT_NOFILE, &files);
  files.rlim_cur = files.rlim_max;
  setrlimit(RLIMIT_NOFILE, &files);
  if (argc > 1 && !strcmp(argv[1], "serve")) return serve(argc, argv);
  if (argc > 2 && !strcmp(argv[1], "read")) return read_streams(argc, argv);
  fprintf(stderr, "usage: ground_truth serve FIRST_MS GAP_MS CHUNKS | read PORT STREAMS\n");
  return 2;
}
