/* The ground truth of the benchmarks: a server that knows when it wrote, and a reader that shows the limit.
 *
 *   ground_truth serve FIRST_MS GAP_MS CHUNKS [TRANSPORT [CERTIFICATE KEY]]
 *                                    prints its port; GET /log gives, and forgets, what it wrote and when
 *   ground_truth read PORT STREAMS [BODY]
 *                                    reads STREAMS streams that begin together; prints one line each
 *
 * A stream is one of `openai-chat`: the head, the role and the first text in one write, then a text a write, then the end
 * in one write. All stamps are nanoseconds of CLOCK_MONOTONIC, taken before write() and after read(). A GAP_MS of 0 writes as
 * fast as the client reads. One thread, epoll, one timer; loopback only.
 *
 * TRANSPORT is `http1` (or nothing), `tls` (HTTP/1.1 in it), `h2` (without TLS), `ws` (a stream of `assistant-ws`) or
 * `socketio` (one of `chainlit`). Of each it speaks no more than the client needs: one stream a connection, nothing checked.
 * TLS and the handshake of WebSocket need OpenSSL: compile with -DWITH_OPENSSL -lssl -lcrypto.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/tcp.h>
#include <signal.h>
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
#ifdef WITH_OPENSSL
#include <openssl/evp.h>
#include <openssl/sha.h>
#include <openssl/ssl.h>
#else
typedef void SSL;
#endif

#define MAX_FD 70000
#define DELTA "data: {\"id\":\"chatcmpl-CbXq4vVJ3nqOZ0hFkqkXbq1oW2u8L\",\"object\":\"chat.completion.chunk\"," \
  "\"created\":1763000000,\"model\":\"gpt-4o-mini-2024-07-18\",\"service_tier\":\"default\"," \
  "\"system_fingerprint\":\"fp_560af6e559\",\"choices\":[{\"index\":0,\"delta\":%s,\"logprobs\":null," \
  "\"finish_reason\":%s}],\"obfuscation\":\"mVbQ4rTz\"}\n\n"

#define WORDS 8
static const char *words[WORDS] = {" word", " the", " and", ".\\n\\n", " \\\"quoted\\\"", " na\\u00efve", " \u4e2d\u6587", " a-longer-word"};

static int64_t now_ns(void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return t.tv_sec * 1000000000LL + t.tv_nsec;
}

enum transport { HTTP1, TLS, H2, WS, SOCKETIO };
static enum transport transport;

/* The head of what one write carries, as its transport frames it: a chunk, a DATA frame of stream 1, a text message. */
static int head_of(char *out, int n) {
  if (transport == HTTP1 || transport == TLS) return sprintf(out, "%x\r\n", n);
  if (transport == H2) {
    unsigned char frame[9] = {n >> 16, n >> 8, n, 0, 0, 0, 0, 0, 1};
    memcpy(out, frame, 9);
    return 9;
  }
  unsigned char frame[10] = {0x81, n < 126 ? n : n < 65536 ? 126 : 127};
  int more = n < 126 ? 0 : n < 65536 ? 2 : 8;
  for (int i = 0; i < more; i++) frame[2 + i] = (uint64_t)n >> 8 * (more - 1 - i);
  memcpy(out, frame, 2 + more);
  return 2 + more;
}

static int framed(char *out, const char *body) {
  int n = strlen(body), size = head_of(out, n);
  memcpy(out + size, body, n);
  size += n;
  if (transport == HTTP1 || transport == TLS) size += sprintf(out + size, "\r\n");
  return size;
}

static int chunk(char *out, const char *delta, const char *finish) {
  char body[1024];
  snprintf(body, sizeof body, DELTA, delta, finish);
  return framed(out, body);
}

/* The server */

struct stream {
  int sent;         /* texts so far */
  int active;
  int64_t due_ns, asked_ns;
  int64_t *at_ns;
  SSL *tls;
  int open;         /* of TLS, or upgraded to a WebSocket */
  int got;          /* bytes of the request so far */
  char request[65536];
};

static struct stream *streams[MAX_FD];
static int queue[1 << 20], head, tail;          /* descriptors in the order of their due times */
static int first_queue[1 << 20], first_head, first_tail;
static char first_write[8192], text_write[WORDS][2048], *end_write;
static int stamp_at[WORDS];                     /* where a text's own time stands in it; 0 where it has none */
static int first_size, text_size[WORDS], end_size, chunks;
static int64_t first_ns, gap_ns;
static FILE *journal;
static char *journal_text;
static size_t journal_size;

static ssize_t give(int fd, const char *data, int size) {
#ifdef WITH_OPENSSL
  if (streams[fd] && streams[fd]->tls) {
    int n = SSL_write(streams[fd]->tls, data, size), why = n > 0 ? 0 : SSL_get_error(streams[fd]->tls, n);
    errno = why == SSL_ERROR_WANT_WRITE || why == SSL_ERROR_WANT_READ ? EAGAIN : EPIPE;
    return n > 0 ? n : -1;
  }
#endif
  return send(fd, data, size, MSG_NOSIGNAL);
}

static ssize_t take(int fd, char *data, int size) {
#ifdef WITH_OPENSSL
  if (streams[fd]->tls) {
    int n = SSL_read(streams[fd]->tls, data, size), why = n > 0 ? 0 : SSL_get_error(streams[fd]->tls, n);
    errno = why == SSL_ERROR_WANT_WRITE || why == SSL_ERROR_WANT_READ ? EAGAIN : EPIPE;
    return n > 0 ? n : why == SSL_ERROR_ZERO_RETURN ? 0 : -1;
  }
#endif
  return read(fd, data, size);
}

static int put(int fd, const char *data, int size) {
  while (size > 0) {
    ssize_t n = give(fd, data, size);
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
#ifdef WITH_OPENSSL
  if (s && s->tls) SSL_free(s->tls);
#endif
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

static void begin(int fd, struct stream *s) {
  s->asked_ns = now_ns();
  s->sent = 0;
  s->active = 1;
  s->due_ns = s->asked_ns + first_ns;
  first_queue[first_tail++ & 0xfffff] = fd;
}

static void consume(struct stream *s, int size) {
  s->got -= size;
  memmove(s->request, s->request + size, s->got);
}

static void say(int fd, const char *text) {
  char out[1024];
  put(fd, out, framed(out, text));
}

/* HTTP/2: the connection's preface, then frames, of which only the end of the request matters. */
static void asked_h2(int fd, struct stream *s) {
  if (!s->open) {
    if (s->got < 24) return;
    s->open = 1;
    consume(s, 24);
    put(fd, "\0\0\0\4\0\0\0\0\0", 9);
  }
  while (s->got >= 9) {
    unsigned char *f = (unsigned char *)s->request;
    int size = 9 + (f[0] << 16 | f[1] << 8 | f[2]);
    if (s->got < size) return;
    if (f[3] == 4 && !(f[4] & 1)) put(fd, "\0\0\0\4\1\0\0\0\0", 9);
    if (f[3] <= 1 && f[4] & 1) begin(fd, s);
    consume(s, size);
  }
}

#ifdef WITH_OPENSSL
static void upgrade(int fd, struct stream *s) {
  char key[128] = "", answer[512];
  unsigned char digest[20];
  char *given = strcasestr(s->request, "sec-websocket-key:");
  if (given) sscanf(given + 18, " %60s", key);
  strcat(key, "258EAFA5-E914-47DA-95CA-C5AB0DC85B11");
  SHA1((unsigned char *)key, strlen(key), digest);
  int n = sprintf(answer, "HTTP/1.1 101 Go\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: ");
  n += EVP_EncodeBlock((unsigned char *)answer + n, digest, 20);
  n += sprintf(answer + n, "\r\n\r\n");
  put(fd, answer, n);
  s->open = 1;
  if (transport == WS) say(fd, "{\"type\":\"project_joined\",\"data\":{\"project_id\":\"p\",\"success\":true},\"timestamp\":1}");
  else say(fd, "0{\"sid\":\"s\",\"upgrades\":[],\"pingInterval\":600000,\"pingTimeout\":600000,\"maxPayload\":1000000}");
}
#endif

static void said(int fd, struct stream *s, char *text) {
  if (strstr(text, "create_conversation"))
    say(fd, "{\"type\":\"conversation_created\",\"data\":{\"conversation\":{\"id\":\"c\"}},\"timestamp\":1}");
  else if (!strncmp(text, "40", 2)) say(fd, "40{\"sid\":\"a\"}");
  else if (strstr(text, "connection_successful")) say(fd, "42[\"clear_call_fn\",{}]");
  else if (strstr(text, "client_message") || strstr(text, "user_message")) begin(fd, s);
}

/* WebSocket: the upgrade, then messages, each in one masked frame, and the Close. */
static void asked_socket(int fd, struct stream *s) {
  while (s->got >= 6) {
    unsigned char *f = (unsigned char *)s->request;
    int begins = (f[1] & 127) == 126 ? 8 : 6, n = begins == 8 ? f[2] << 8 | f[3] : f[1] & 127;
    if (s->got < begins + n) return;
    for (int i = 0; i < n; i++) f[begins + i] ^= f[begins - 4 + i % 4];
    char kept = s->request[begins + n];
    s->request[begins + n] = 0;
    if ((f[0] & 15) == 1) said(fd, s, s->request + begins);
    if ((f[0] & 15) == 8) put(fd, "\x88\0", 2);  /* who closes waits for the answer */
    s->request[begins + n] = kept;
    consume(s, begins + n);
  }
}

static void asked(int fd, struct stream *s) {
  s->request[s->got] = 0;
  int is_log = !strncmp(s->request, "GET /log", 8);
  if (transport == H2 && !is_log && s->request[0] != 'G') { asked_h2(fd, s); return; }
  if (transport >= WS && s->open) { asked_socket(fd, s); return; }
  char *body = strstr(s->request, "\r\n\r\n");
  if (!body) return;
  char *length = strcasestr(s->request, "content-length:");
  int wanted = (int)(body + 4 - s->request) + (length ? atoi(length + 15) : 0);
  if (s->got < wanted) return;
  s->got = 0;
  if (is_log) { answer_log(fd); return; }
#ifdef WITH_OPENSSL
  if (transport >= WS) { upgrade(fd, s); return; }
#endif
  begin(fd, s);
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
  if (s->sent && stamp_at[s->sent % WORDS]) {
    char stamp[32];
    snprintf(stamp, sizeof stamp, "%014.3f", 1763000000 + s->at_ns[s->sent] / 1e9);
    memcpy(text_write[s->sent % WORDS] + stamp_at[s->sent % WORDS], stamp, 14);
  }
  int failed = s->sent ? put(fd, text_write[s->sent % WORDS], text_size[s->sent % WORDS]) : put(fd, first_write, first_size);
  s->sent++;
  if (failed) { s->active = 0; return -1; }
  s->due_ns += gap_ns;
  return 0;
}

static int answer(char *out, const char *word, const char *done) {
  char body[1024];
  snprintf(body, sizeof body, "{\"type\":\"assistant_response\",\"data\":{\"conversation_id\":\"0b6f2f9e-7d61-4c8e-9a43-2a8a4e5d3a11\","
    "\"message_id\":\"f3f0c7c2-5a5e-4a39-8d1e-6f1d2b7c9e55\",\"content\":\"%s\",\"done\":%s,\"tool_calls\":[]},"
    "\"timestamp\":9999999999.999}", word, done);
  return framed(out, body);
}

static int token(char *out, const char *word) {
  char body[1024];
  snprintf(body, sizeof body, "42[\"stream_token\",{\"id\":\"5c7f1f0e-3c8d-4f5e-8f8e-2b8d1a9c7e21\",\"token\":\"%s\","
    "\"isSequence\":false,\"isInput\":false}]", word);
  return framed(out, body);
}

static int step_message(char *out, const char *event, const char *output) {
  char *body = malloc(strlen(output) + 512);
  sprintf(body, "42[\"%s\",{\"id\":\"5c7f1f0e-3c8d-4f5e-8f8e-2b8d1a9c7e21\",\"name\":\"A\",\"type\":\"assistant_message\","
    "\"isError\":false,\"output\":\"%s\"}]", event, output);
  int size = framed(out, body);
  free(body);
  return size;
}

/* The writes of a stream, which are the same for all. */
static void compose(void) {
  char *whole = calloc(chunks + 1, 16);
  for (int i = 0; i < chunks; i++) strcat(whole + (i > 64 ? strlen(whole) - 1 : 0), words[i % WORDS]);
  end_write = malloc(strlen(whole) + 4096);
  if (transport == HTTP1 || transport == TLS)
    first_size = sprintf(first_write, "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n");
  if (transport == H2) {  /* HEADERS: `:status: 200` and the content type, both by their number in the static table */
    const char *type = "text/event-stream";
    unsigned char frame[] = {0, 0, 4 + strlen(type), 1, 4, 0, 0, 0, 1, 0x88, 0x0f, 0x10, strlen(type)};
    memcpy(first_write, frame, sizeof frame);
    memcpy(first_write + sizeof frame, type, strlen(type));
    first_size = sizeof frame + strlen(type);
  }
  for (int i = 0; i < WORDS; i++) {
    char delta[128];
    sprintf(delta, "{\"content\":\"%s\"}", words[i]);
    text_size[i] = transport == WS ? answer(text_write[i], words[i], "false")
      : transport == SOCKETIO ? token(text_write[i], words[i]) : chunk(text_write[i], delta, "null");
    if (transport == WS) stamp_at[i] = text_size[i] - 15;
  }
  if (transport == WS) {
    first_size = answer(first_write, words[0], "false");
    memcpy(first_write + first_size - 15, "1763000000.000", 14);
    end_size = answer(end_write, "", "true");
  } else if (transport == SOCKETIO) {
    first_size = framed(first_write, "42[\"task_start\",{}]");
    first_size += step_message(first_write + first_size, "stream_start", "");
    first_size += token(first_write + first_size, words[0]);
    end_size = step_message(end_write, "new_message", whole);
    end_size += framed(end_write + end_size, "42[\"task_end\",{}]");
  } else {
    first_size += chunk(first_write + first_size, "{\"role\":\"assistant\",\"content\":\"\",\"refusal\":null}", "null");
    first_size += chunk(first_write + first_size, "{\"content\":\" word\"}", "null");
    end_size = chunk(end_write, "{}", "\"stop\"");
    end_size += framed(end_write + end_size, "data: [DONE]\n\n");
    if (transport == H2) {
      memcpy(end_write + end_size, "\0\0\0\0\1\0\0\0\1", 9);  /* END_STREAM */
      end_size += 9;
    } else end_size += sprintf(end_write + end_size, "0\r\n\r\n");
  }
  free(whole);
}

#ifdef WITH_OPENSSL
static SSL_CTX *context;

/* TLS, but for whoever asks for the log: he says GET, and no TLS begins like that. False until it is open. */
static int opened(int fd, struct stream *s) {
  char first;
  if (!s->tls) {
    if (recv(fd, &first, 1, MSG_PEEK) == 1 && first == 'G') return s->open = 1;
    s->tls = SSL_new(context);
    SSL_set_fd(s->tls, fd);
  }
  if (SSL_accept(s->tls) == 1) s->open = 1;
  return 0;
}
#endif

static int serve(int argc, char **argv) {
  first_ns = (argc > 2 ? atof(argv[2]) : 200) * 1e6;
  gap_ns = (argc > 3 ? atof(argv[3]) : 20) * 1e6;
  chunks = argc > 4 ? atoi(argv[4]) : 50;
  if (argc > 5) {
    const char *names[] = {"http1", "tls", "h2", "ws", "socketio"};
    for (int i = 0; i < 5; i++) if (!strcmp(argv[5], names[i])) transport = i;
  }
  compose();
  journal = open_memstream(&journal_text, &journal_size);
  int listening = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
  struct sockaddr_in where = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
  bind(listening, (struct sockaddr *)&where, sizeof where);
  listen(listening, 4096);
  socklen_t size = sizeof where;
  getsockname(listening, (struct sockaddr *)&where, &size);
  printf("%d\n", ntohs(where.sin_port));
  fflush(stdout);
#ifdef WITH_OPENSSL
  if (transport == TLS) {
    context = SSL_CTX_new(TLS_server_method());
    SSL_CTX_set_mode(context, SSL_MODE_ENABLE_PARTIAL_WRITE | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER);
    if (argc < 8 || SSL_CTX_use_certificate_file(context, argv[6], SSL_FILETYPE_PEM) != 1 ||
        SSL_CTX_use_PrivateKey_file(context, argv[7], SSL_FILETYPE_PEM) != 1) return 2;
  }
#else
  if (transport == TLS || transport >= WS) return 2;
#endif
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
#ifdef WITH_OPENSSL
        if (transport == TLS && !s->open && !opened(fd, s) && !s->open) continue;
#endif
        ssize_t got = take(fd, s->request + s->got, sizeof s->request - 1 - s->got);
        if (got < 0 && errno == EAGAIN) continue;
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
  const char *body = argc > 4 ? argv[4] : "{}";
  char ask[1024];
  snprintf(ask, sizeof ask, "POST /v1/chat/completions HTTP/1.1\r\nHost: localhost\r\nContent-Length: %zu\r\n\r\n%s",
           strlen(body), body);
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
  signal(SIGPIPE, SIG_IGN);  // OpenSSL writes to a connection that its peer may have closed
  if (argc > 1 && !strcmp(argv[1], "serve")) return serve(argc, argv);
  if (argc > 2 && !strcmp(argv[1], "read")) return read_streams(argc, argv);
  fprintf(stderr, "usage: ground_truth serve FIRST_MS GAP_MS CHUNKS [TRANSPORT] | read PORT STREAMS [BODY]\n");
  return 2;
}
