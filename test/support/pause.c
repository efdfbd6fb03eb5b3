/* The process that keeps a pod's namespaces: it waits, reaps, and ends when it is told to. */
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

static void end(int number) { _exit(number == SIGTERM || number == SIGINT ? 0 : 128 + number); }

int main(void) {
  signal(SIGTERM, end);
  signal(SIGINT, end);
  for (;;) {
    while (waitpid(-1, NULL, 0) > 0) {
    }
    pause();
  }
}
