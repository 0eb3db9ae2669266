/* Reads 16-bit samples at 8 kHz on standard input and prints a line for each digit that spandsp hears:
 * the sample at which it said so, a space, the digit. Compiled when the bench runs; spandsp itself is
 * whatever the system has installed. */
#include <dlfcn.h>
#include <stdint.h>
#include <stdio.h>

typedef void *(*init_f)(void *, void *, void *);
typedef int (*rx_f)(void *, const int16_t *, int);
typedef size_t (*get_f)(void *, char *, int);

int main(void) {
    void *library = dlopen("libspandsp.so.2", RTLD_NOW);
    if (!library) {
        fprintf(stderr, "%s\n", dlerror());
        return 1;
    }
    init_f init = (init_f)dlsym(library, "dtmf_rx_init");
    rx_f rx = (rx_f)dlsym(library, "dtmf_rx");
    get_f get = (get_f)dlsym(library, "dtmf_rx_get");
    if (!init || !rx || !get) {
        fprintf(stderr, "libspandsp.so.2 has no dtmf_rx\n");
        return 1;
    }
    void *state = init(NULL, NULL, NULL);
    int16_t samples[160];
    char digits[129];
    long heard = 0;
    size_t count;
    while ((count = fread(samples, sizeof samples[0], 160, stdin)) > 0) {
        rx(state, samples, (int)count);
        heard += (long)count;
        size_t told = get(state, digits, 128);
        for (size_t digit = 0; digit < told; digit++)
            printf("%ld %c\n", heard, digits[digit]);
    }
    return 0;
}
