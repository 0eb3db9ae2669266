/* spandsp's receiver of tones as a process of its own: nothing of it is linked into the project.
 *
 * decode        for each clip on standard input (32 bits: samples that follow, 16 bits each; the top
 *               bit: that many were lost, and the clip goes on), what was heard: the digits, a line
 *               feed. A clip ends with a length of zero.
 * time FILE     for each byte on standard input one pass over FILE in frames of 160 samples; answers
 *               the nanoseconds that each stretch of 50 frames took, 64 bits each. */
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

/* As spandsp/dtmf.h of 0.0.6 has them; written down here so that no header is needed. */
void *dtmf_rx_init(void *state, void (*heard)(void *, const char *, int), void *user);
int dtmf_rx(void *state, const int16_t *samples, int count);
int dtmf_rx_fillin(void *state, int samples);
size_t dtmf_rx_get(void *state, char *digits, int most);
int dtmf_rx_free(void *state);

enum { FRAME = 160, STRETCH = 50 * FRAME };

static void receive(void *state, const int16_t *samples, size_t count)
{
    for (size_t at = 0; at < count; at += FRAME)
        dtmf_rx(state, samples + at, (int) (count - at < FRAME ? count - at : FRAME));
}

static int decode(void)
{
    int16_t samples[FRAME];
    /* As many as its own buffer holds. */
    char digits[129];
    void *state = dtmf_rx_init(NULL, NULL, NULL);
    uint32_t count;

    while (fread(&count, sizeof count, 1, stdin) == 1) {
        uint32_t left = count & 0x7fffffffU;
        if (count == 0) {
            putchar('\n');
            fflush(stdout);
            dtmf_rx_free(state);
            state = dtmf_rx_init(NULL, NULL, NULL);
        } else if (count != left) {
            dtmf_rx_fillin(state, (int) left);
        } else {
            while (left > 0) {
                uint32_t piece = left < FRAME ? left : FRAME;
                if (fread(samples, sizeof *samples, piece, stdin) != piece)
                    return 1;
                dtmf_rx(state, samples, (int) piece);
                fwrite(digits, 1, dtmf_rx_get(state, digits, 128), stdout);
                left -= piece;
            }
        }
    }
    return 0;
}

static int time_passes(const char *path)
{
    FILE *file = fopen(path, "rb");
    if (file == NULL)
        return 1;
    fseek(file, 0, SEEK_END);
    size_t count = (size_t) ftell(file) / sizeof(int16_t);
    rewind(file);
    int16_t *samples = malloc(count * sizeof *samples);
    if (samples == NULL || fread(samples, sizeof *samples, count, file) != count)
        return 1;
    fclose(file);
    void *state = dtmf_rx_init(NULL, NULL, NULL);
    while (getchar() != EOF) {
        for (size_t at = 0; at < count; at += STRETCH) {
            char digits[129];
            struct timespec from, to;
            clock_gettime(CLOCK_MONOTONIC, &from);
            receive(state, samples + at, count - at < STRETCH ? count - at : STRETCH);
            clock_gettime(CLOCK_MONOTONIC, &to);
            dtmf_rx_get(state, digits, 128);
            uint64_t took = (uint64_t) (to.tv_sec - from.tv_sec) * 1000000000U
                            + (uint64_t) to.tv_nsec - (uint64_t) from.tv_nsec;
            fwrite(&took, sizeof took, 1, stdout);
        }
        fflush(stdout);
    }
    return 0;
}

int main(int count, char **arguments)
{
    if (count == 2 && strcmp(arguments[1], "decode") == 0)
        return decode();
    if (count == 3 && strcmp(arguments[1], "time") == 0)
        return time_passes(arguments[2]);
    fprintf(stderr, "usage: spandsp decode | time FILE\n");
    return 2;
}
