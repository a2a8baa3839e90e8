/* The limit: ready frames to sockets, by a loop of send(2). What a kernel takes for a delivery, without any server.
 *
 * limit FRAME-FILE: says on standard output where it listens, accepts whoever comes, and for each line on standard
 * input sends the frame once to each, and answers how many took it whole. Ends with its standard input.
 */
#include <arpa/inet.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

enum { MOST = 100000, LONGEST = 1 << 20 };

static int sockets[MOST];
static char frame[LONGEST];

static int listening(void)
{
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t size = sizeof address;
    int listener = socket(AF_INET, SOCK_STREAM, 0);
    if (bind(listener, (struct sockaddr *)&address, size) || listen(listener, 1024) ||
        fcntl(listener, F_SETFL, O_NONBLOCK) ||
        getsockname(listener, (struct sockaddr *)&address, &size)) {
        perror("limit");
        exit(1);
    }
    printf("serving on http://127.0.0.1:%d\n", ntohs(address.sin_port));
    fflush(stdout);
    return listener;
}

/* All who wait: somebody who is connected may still be in the backlog when the next order comes. */
static int accepted(int listener, int count)
{
    int one = 1;
    while (count < MOST && (sockets[count] = accept(listener, NULL, NULL)) >= 0)
        setsockopt(sockets[count++], IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    return count;
}

static int sent(int count, size_t length)
{
    int took = 0;
    for (int i = 0; i < count; i++)
        took += send(sockets[i], frame, length, MSG_DONTWAIT | MSG_NOSIGNAL) == (ssize_t)length;
    return took;
}

int main(int argc, char **argv)
{
    FILE *file = argc == 2 ? fopen(argv[1], "rb") : NULL;
    if (!file) {
        fprintf(stderr, "usage: limit FRAME-FILE\n");
        return 2;
    }
    size_t length = fread(frame, 1, LONGEST, file);
    int count = 0;
    char order;
    struct pollfd waiting[2] = {{.fd = listening(), .events = POLLIN}, {.fd = 0, .events = POLLIN}};
    while (poll(waiting, 2, -1) > 0) {
        count = accepted(waiting[0].fd, count);
        if (waiting[1].revents) {
            if (read(0, &order, 1) != 1)
                return 0;
            printf("%d\n", sent(count, length));
            fflush(stdout);
        }
    }
    return 1;
}
