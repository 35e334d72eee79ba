/* The C interface of libvigil_agent.so, for programs that open it at run time.
 *
 *   void *library = dlopen("libvigil_agent.so", RTLD_NOW | RTLD_LOCAL);
 *   int (*start)(const char *, char *, unsigned long) = dlsym(library, "vigil_agent_start");
 *   char error[256];
 *   if (start("listen=127.0.0.1:6060 stuck_after=10s", error, sizeof error) != 0) fprintf(stderr, "%s\n", error);
 *
 * A preloaded library starts by itself, with VIGIL_LISTEN. The library is never unloaded: dlclose(3) leaves it where it
 * is. Opened at run time it stands behind the C library, so the heap and contention profiles are not there (their pages
 * say so); everything else is.
 *
 * All functions may be called from any thread, and none from a signal handler.
 */
#ifndef VIGIL_AGENT_H
#define VIGIL_AGENT_H

#ifdef __cplusplus
extern "C" {
#endif

/* Starts the agent, and waits until it serves. `settings`: NULL for what the VIGIL_* variables say; or words
 * "name=value", separated by spaces, which stand in front of the variables: listen=127.0.0.1:6060 for
 * VIGIL_LISTEN=127.0.0.1:6060. 0: it serves. -1: it does not; `error` (`error_bytes` long, or NULL) says why, in one
 * line that is cut to fit. Also -1 where it runs already, and where neither settings nor environment say listen. */
int vigil_agent_start(const char* settings, char* error, unsigned long error_bytes);

/* Stops it; captures in progress end early. Nothing if it does not run. It may be started again. */
void vigil_agent_stop(void);

/* Where it serves: "127.0.0.1:6060", or "unix:/path" where it has no port, into `address` (cut to `address_bytes`), with the length of the whole, which is 0
 * when it does not run. */
unsigned long vigil_agent_address(char* address, unsigned long address_bytes);

/* "0.1.0". */
const char* vigil_agent_version(void);

#ifdef __cplusplus
}
#endif

#endif
