/* A CPU with AVX2 and nothing newer, for the process that this library is preloaded into, and all of its children.
 *
 * Linux can have the CPUID instruction raise SIGSEGV (arch_prctl(ARCH_SET_CPUID), see arch_prctl(2)); threads and
 * forked processes inherit that. Each is answered here by what the CPU says without AVX-512, VNNI and AMX, so every
 * library believes it, whatever variables it heeds. The kernel's /proc/cpuinfo still tells of all.
 *
 * The bits are those of Intel's Software Developer's Manual, volume 2, CPUID, leaf 7.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <ucontext.h>
#include <unistd.h>

#define ARCH_SET_CPUID 0x1012
#define BIT(number) (UINT32_C(1) << (number))

static int (*set_action)(int, const struct sigaction *, struct sigaction *);

static long let_cpuid_work(long works) { return syscall(SYS_arch_prctl, ARCH_SET_CPUID, works); }

static void without_newer(uint32_t leaf, uint32_t subleaf, uint32_t *a, uint32_t *b, uint32_t *c, uint32_t *d) {
    if (leaf == 7 && subleaf == 0) {
        *b &= ~(BIT(16) | BIT(17) | BIT(21) | BIT(26) | BIT(27) | BIT(28) | BIT(30) | BIT(31)); /* AVX512F, ... */
        *c &= ~(BIT(1) | BIT(6) | BIT(11) | BIT(12) | BIT(14)); /* AVX512_VBMI, _VBMI2, _VNNI, _BITALG, ... */
        *d &= ~(BIT(2) | BIT(3) | BIT(8) | BIT(22) | BIT(23) | BIT(24) | BIT(25)); /* AVX512_FP16, AMX, ... */
    }
    if (leaf == 7 && subleaf == 1) {
        *a &= ~(BIT(4) | BIT(5) | BIT(21) | BIT(23)); /* AVX_VNNI, AVX512_BF16, AMX_FP16, AVX_IFMA */
        *d &= ~(BIT(4) | BIT(5) | BIT(10) | BIT(19)); /* AVX_VNNI_INT8, AVX_NE_CONVERT, AVX_VNNI_INT16, AVX10 */
    }
}

static void on_fault(int number, siginfo_t *info, void *context) {
    greg_t *registers = ((ucontext_t *)context)->uc_mcontext.gregs;
    const unsigned char *code = (const unsigned char *)registers[REG_RIP];
    if (info->si_code != SI_KERNEL || code[0] != 0x0f || code[1] != 0xa2) { /* any other fault kills, as ever */
        struct sigaction usual = {.sa_handler = SIG_DFL};
        set_action(number, &usual, NULL);
        return;
    }
    uint32_t leaf = registers[REG_RAX], subleaf = registers[REG_RCX], a, b, c, d;
    let_cpuid_work(1);
    __asm__ volatile("cpuid" : "=a"(a), "=b"(b), "=c"(c), "=d"(d) : "a"(leaf), "c"(subleaf));
    let_cpuid_work(0);
    without_newer(leaf, subleaf, &a, &b, &c, &d);
    registers[REG_RAX] = a, registers[REG_RBX] = b, registers[REG_RCX] = c, registers[REG_RDX] = d;
    registers[REG_RIP] += 2;
}

/* Python's faulthandler would take the signal. */
int sigaction(int number, const struct sigaction *wanted, struct sigaction *before) {
    if (!set_action) set_action = dlsym(RTLD_NEXT, "sigaction");
    return set_action(number, number == SIGSEGV ? NULL : wanted, before);
}

/* So would GCC, which asks for the CPU with -march=native. */
sighandler_t signal(int number, sighandler_t handler) {
    sighandler_t (*set_handler)(int, sighandler_t) = dlsym(RTLD_NEXT, "signal");
    return number == SIGSEGV ? SIG_DFL : set_handler(number, handler);
}

__attribute__((constructor)) static void begin(void) {
    struct sigaction ours = {.sa_sigaction = on_fault, .sa_flags = SA_SIGINFO | SA_NODEFER};
    set_action = dlsym(RTLD_NEXT, "sigaction");
    set_action(SIGSEGV, &ours, NULL);
    if (let_cpuid_work(0)) {
        fputs("this kernel or CPU cannot have CPUID fault\n", stderr);
        exit(1);
    }
}
