// The machine behind `on_host.h`: it runs blocks one after another, their threads as fibers, and
// looks at what they read and write. Compiled once, without the checks that kernels are given.

#include <math.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "on_host.h"

// ------------------------------------------------------------------------- switching between fibers
//
// `fiber_switch(&mine, other)` keeps what a callee must keep on the own stack, and goes on where
// `other` did so.

#if defined(_WIN32)
#include <windows.h>
typedef void* Context;
static void fiber_switch(Context* from, Context to) {
    (void)from;
    SwitchToFiber(to);
}
#elif defined(__x86_64__) || defined(__aarch64__)
#include <sys/mman.h>
typedef void* Context;
#define NAME1(prefix, name) #prefix name
#define NAME2(prefix, name) NAME1(prefix, name)
#define NAME(name) NAME2(__USER_LABEL_PREFIX__, name)
extern "C" __attribute__((visibility("hidden"))) void fiber_switch(Context* from, Context to);
extern "C" __attribute__((visibility("hidden"))) void fiber_first();
#if defined(__x86_64__)
__asm__(".text\n" NAME("fiber_switch") ":\n"
        "pushq %rbp\n pushq %rbx\n pushq %r12\n pushq %r13\n pushq %r14\n pushq %r15\n"
        "movq %rsp, (%rdi)\n movq %rsi, %rsp\n"
        "popq %r15\n popq %r14\n popq %r13\n popq %r12\n popq %rbx\n popq %rbp\n ret\n"
        NAME("fiber_first") ":\n movq %r12, %rdi\n callq *%r13\n ud2\n");
#else
__asm__(".text\n" NAME("fiber_switch") ":\n"
        "sub sp, sp, #160\n"
        "stp x19, x20, [sp, #0]\n stp x21, x22, [sp, #16]\n stp x23, x24, [sp, #32]\n"
        "stp x25, x26, [sp, #48]\n stp x27, x28, [sp, #64]\n stp x29, x30, [sp, #80]\n"
        "stp d8, d9, [sp, #96]\n stp d10, d11, [sp, #112]\n"
        "stp d12, d13, [sp, #128]\n stp d14, d15, [sp, #144]\n"
        "mov x9, sp\n str x9, [x0]\n mov sp, x1\n"
        "ldp x19, x20, [sp, #0]\n ldp x21, x22, [sp, #16]\n ldp x23, x24, [sp, #32]\n"
        "ldp x25, x26, [sp, #48]\n ldp x27, x28, [sp, #64]\n ldp x29, x30, [sp, #80]\n"
        "ldp d8, d9, [sp, #96]\n ldp d10, d11, [sp, #112]\n"
        "ldp d12, d13, [sp, #128]\n ldp d14, d15, [sp, #144]\n"
        "add sp, sp, #160\n ret\n"
        NAME("fiber_first") ":\n mov x0, x19\n blr x20\n brk #1\n");
#endif
#else
#include <sys/mman.h>
#include <ucontext.h>
typedef ucontext_t* Context;
static void fiber_switch(Context* from, Context to) { swapcontext(*from, to); }
#endif

// ----------------------------------------------------------------------------------- the state

enum State { READY, IN_WARP, IN_BLOCK, ENDED };

struct Copy { void* to; const void* from; bool there; int set; };

struct Fiber {
    Context context;
    char* stack;
    uint3 index;
    State state;
    const char* what;     // it waits in
    HostTogether act;
    unsigned mask;
    void* mine;
    Copy* copies;
    int n_copies, room, sets;
};

static const int MOST = 1024;                 // threads in a block
static const size_t STACK = 128 * 1024;
static const unsigned char RUBBISH = 0xff;    // NaN, -1, true
static const size_t GUARD = 256;              // bytes behind the dynamic shared memory
static const unsigned CANARY = 0x5ca1ab1e;

static Fiber fibers[MOST];
static Fiber* now;
static Context scheduler;
static int n_threads;
static HostLaunch* launch;
static void (*call)(void*);
static void* kernel;
static bool failed;
static unsigned char* dynamic_shared;
static unsigned long long dice;

HostPlace host_place;

static unsigned long long random_bits() {
    dice ^= dice << 13;
    dice ^= dice >> 7;
    dice ^= dice << 17;
    return dice;
}

static void describe(const char* format, va_list list) {
    size_t room = launch->error_size;
    int n = snprintf(launch->error, room, "block (%u, %u, %u)", blockIdx.x, blockIdx.y,
                     blockIdx.z);
    if (now)
        n += snprintf(launch->error + n, room - n, ", thread (%u, %u, %u)", now->index.x,
                      now->index.y, now->index.z);
    n += snprintf(launch->error + n, room - n, ": ");
    vsnprintf(launch->error + n, room - n, format, list);
    failed = true;
}

static void note(const char* format, ...) {
    va_list list;
    va_start(list, format);
    describe(format, list);
    va_end(list);
}

// The fiber that fails is left where it is. What threads do together is done by the scheduler: there
// it returns.
extern "C" void host_fail(const char* format, ...) {
    va_list list;
    va_start(list, format);
    describe(format, list);
    va_end(list);
    Context lost_context;
#if !defined(_WIN32) && !defined(__x86_64__) && !defined(__aarch64__)
    ucontext_t lost;
    lost_context = &lost;
#endif
    if (now) fiber_switch(&lost_context, scheduler);
}

static void leave() { fiber_switch(&now->context, scheduler); }

extern "C" void host_together(const char* what, HostTogether act, unsigned mask, void* mine) {
    now->state = IN_WARP;
    now->what = what;
    now->act = act;
    now->mask = mask;
    now->mine = mine;
    leave();
}

extern "C" void host_barrier(const char* what, HostTogether act, void* mine) {
    now->state = IN_BLOCK;
    now->what = what;
    now->act = act;
    now->mine = mine;
    leave();
}

// ------------------------------------------------------------------------------- memory, looked at

struct Region { const char *from, *to; };

static const int MOST_REGIONS = 256;
static Region regions[MOST_REGIONS];  // the arrays that this launch was given, the latest used first
static int n_regions;

struct Global {  // as the compiler describes a variable
    char* at;
    size_t size, with_margin;
    const char *name, *module;
    size_t dynamic;
    void* location;
    size_t odr;
};

static Global* globals_of[8];
static size_t n_globals_of[8];
static int n_modules;

#if defined(__ELF__)  // where the linker tells what lies in this library
extern "C" __attribute__((visibility("hidden"))) char __ehdr_start[], __bss_start[], _end[];
static bool in_image(const char* at) { return at >= __ehdr_start && at < _end; }
// What is shared lies among the variables that begin as zeros.
static bool is_shared(const Global* g) { return g->at >= __bss_start && g->at < _end; }
#else
static bool in_image(const char*) { return false; }
static bool is_shared(const Global*) { return false; }
#endif

static bool in_dynamic(const char* at, size_t size) {
    return at >= (char*)dynamic_shared && at + size <= (char*)dynamic_shared + launch->shared;
}

static const Global* global_around(const char* at) {
    for (int m = 0; m < n_modules; m++)
        for (size_t i = 0; i < n_globals_of[m]; i++) {
            const Global* g = globals_of[m] + i;
            if (at >= g->at && at < g->at + g->with_margin) return g;
        }
    return nullptr;
}

static void outside(const char* at, size_t size, bool writes) {
    const char* does = writes ? "writes" : "reads";
    if (const Global* g = global_around(at))
        host_fail("%s %zu bytes at byte %lld of %s, which has %zu", does, size,
                  (long long)(at - g->at), g->name, g->size);
    if (at >= (char*)dynamic_shared && at < (char*)dynamic_shared + launch->shared + GUARD)
        host_fail("%s %zu bytes at byte %lld of the dynamic shared memory, which has %zu", does, size,
                  (long long)(at - (char*)dynamic_shared), launch->shared);
    if (at < now->stack && at + 8 * STACK > now->stack)
        host_fail("the thread needs more than %zu bytes of stack", STACK);
    const Region* nearest = nullptr;
    size_t least = 1 << 20;
    for (int i = 0; i < n_regions; i++) {
        size_t far = at < regions[i].from ? regions[i].from - at : at + size - regions[i].to;
        if (far < least) {
            least = far;
            nearest = regions + i;
        }
    }
    if (nearest)
        host_fail("%s %zu bytes outside of any array it was given, at byte %lld of one of %lld", does,
                  size, (long long)(at - nearest->from), (long long)(nearest->to - nearest->from));
    host_fail("%s %zu bytes at %p, outside of any array it was given", does, size, (const void*)at);
}

static bool find_array(const char* at) {
    Region found;
    if (!at || !launch->where(at, &found.from, &found.to)) return false;
    if (n_regions < MOST_REGIONS) n_regions++;
    regions[n_regions - 1] = regions[0];
    regions[0] = found;
    return true;
}

// Whether `at` is in an array whose address is in a table that the kernel was given.
static bool in_table(const char* at) {
    Region found;
    if (!strchr(launch->kinds, 't') || !launch->where(at, &found.from, &found.to)) return false;
    for (int i = 0; i < launch->count; i++) {
        if (launch->kinds[i] != 't') continue;
        Region table;
        const char* begin = *(const char* const*)launch->args[i];
        if (!begin || !launch->where(begin, &table.from, &table.to)) continue;
        for (; begin + 8 <= table.to; begin += 8) {
            const char* word;
            memcpy(&word, begin, 8);
            if (word >= found.from && word < found.to) return find_array(at);
        }
    }
    return false;
}

static bool in_array(const char* at, size_t size) {
    for (int i = 0; i < n_regions; i++)
        if (at >= regions[i].from && at + size <= regions[i].to) {
            if (i) {  // to the front: the next access is likely to be there
                Region found = regions[i];
                regions[i] = regions[0];
                regions[0] = found;
            }
            return true;
        }
    return in_table(at) && in_array(at, size);
}

static void look(const void* where, size_t size, bool writes, bool strict) {
    const char* at = (const char*)where;
    if (strict && ((uintptr_t)at & (size - 1)))
        host_fail("%s %zu bytes at %p, which is not a multiple of %zu", writes ? "writes" : "reads",
                  size, where, size);
    if (!now || (at >= now->stack && at < now->stack + STACK) || in_dynamic(at, size)) return;
    if (in_image(at)) {
        if (at >= (char*)&host_place && at < (char*)(&host_place + 1)) return;
        const Global* g = global_around(at);
        if (!g || at + size <= g->at + g->size) return;
        return outside(at, size, writes);
    }
    if (in_array(at, size)) return;
    outside(at, size, writes);
}

// The compiler calls these before every access of a kernel (-fsanitize=kernel-address).
extern "C" {
#define LOOK(n) \
    void __asan_load##n##_noabort(void* at) { look(at, n, false, true); } \
    void __asan_store##n##_noabort(void* at) { look(at, n, true, true); }
LOOK(1) LOOK(2) LOOK(4) LOOK(8) LOOK(16)
void __asan_loadN_noabort(void* at, size_t size) { look(at, size, false, false); }
void __asan_storeN_noabort(void* at, size_t size) { look(at, size, true, false); }
void __asan_handle_no_return() {}
void __asan_init() {}
void __asan_register_globals(Global* found, size_t n) {
    if (n_modules == 8) return;
    globals_of[n_modules] = found;
    n_globals_of[n_modules++] = n;
}
void __asan_unregister_globals(Global*, size_t) {}
}

extern "C" void host_in_shared(const void* where, size_t size, const char* what) {
    const char* at = (const char*)where;
    if ((uintptr_t)at % 16) host_fail("%s at %p, which is not a multiple of 16", what, where);
    if (in_dynamic(at, size)) return;
    const Global* g = global_around(at);
    if (g && at + size <= g->at + g->size) return;
    if (n_modules) host_fail("%s at %p, which is not in shared memory", what, where);
}

// What is shared has no value when a block begins.
static void forget_shared() {
    memset(dynamic_shared, RUBBISH, launch->shared + GUARD);
    for (int m = 0; m < n_modules; m++)
        for (size_t i = 0; i < n_globals_of[m]; i++)
            if (is_shared(globals_of[m] + i)) memset((void*)globals_of[m][i].at, RUBBISH, globals_of[m][i].size);
}

extern "C" unsigned char* host_dynamic_shared() { return dynamic_shared; }

// --------------------------------------------------------------------------- asynchronous copies
//
// A copy is made when it is waited for, and not before; until then there is rubbish.

extern "C" void host_copy_later(void* to, const void* from, bool there) {
    if (there) look(from, 16, false, true);
    if (now->n_copies == now->room) {
        now->room = now->room ? 2 * now->room : 16;
        now->copies = (Copy*)realloc(now->copies, now->room * sizeof(Copy));
    }
    memset(to, RUBBISH, 16);
    now->copies[now->n_copies++] = Copy{to, from, there, now->sets};
}

extern "C" void host_copies_begun() { now->sets++; }

extern "C" void host_wait_for_copies(int sets) {
    int kept = 0;
    for (int i = 0; i < now->n_copies; i++) {
        Copy copy = now->copies[i];
        if (copy.set >= now->sets - sets) {
            now->copies[kept++] = copy;
        } else if (copy.there) {
            memcpy(copy.to, copy.from, 16);
        } else {
            memset(copy.to, 0, 16);
        }
    }
    now->n_copies = kept;
}

// ---------------------------------------------------------------------------------- tensor cores

static float of_bf16(unsigned bits) { return __uint_as_float(bits << 16); }
static float of_f16(unsigned bits) { return f16_to_float((unsigned short)bits); }

template <int K> static void product(void** mine, const float (&A)[16][K], const float (&B)[K][8]) {
    for (int lane = 0; lane < 32; lane++) {
        float* d = ((HostMma*)mine[lane])->d;
        int g = lane / 4, t = lane % 4;
        for (int i = 0; i < 4; i++) {
            int row = g + 8 * (i / 2), column = 2 * t + i % 2;
            double sum = d[i];
            for (int k = 0; k < K; k++) sum += (double)A[row][k] * (double)B[k][column];
            d[i] = (float)sum;
        }
    }
}

static void mma_together(void** mine, float (*of)(unsigned)) {
    float A[16][16], B[16][8];
    for (int lane = 0; lane < 32; lane++) {
        const HostMma* m = (HostMma*)mine[lane];
        int g = lane / 4, t = lane % 4;
        for (int i = 0; i < 4; i++)
            for (int half = 0; half < 2; half++)
                A[g + 8 * (i % 2)][2 * t + half + 8 * (i / 2)] = of(m->a[i] >> 16 * half & 0xffff);
        for (int i = 0; i < 2; i++)
            for (int half = 0; half < 2; half++)
                B[2 * t + half + 8 * i][g] = of(m->b[i] >> 16 * half & 0xffff);
    }
    product<16>(mine, A, B);
}

extern "C" void host_mma_together_bf16(unsigned, void** mine, unsigned) { mma_together(mine, of_bf16); }
extern "C" void host_mma_together_f16(unsigned, void** mine, unsigned) { mma_together(mine, of_f16); }

extern "C" void host_mma_together_tf32(unsigned, void** mine, unsigned) {
    float A[16][8], B[8][8];
    for (int lane = 0; lane < 32; lane++) {
        const HostMma* m = (HostMma*)mine[lane];
        int g = lane / 4, t = lane % 4;
        for (int i = 0; i < 4; i++)
            A[g + 8 * (i % 2)][t + 4 * (i / 2)] = __uint_as_float(m->a[i] & 0xffffe000u);
        for (int i = 0; i < 2; i++) B[t + 4 * i][g] = __uint_as_float(m->b[i] & 0xffffe000u);
    }
    product<8>(mine, A, B);
}

static void rows_together(void** mine, bool transposed) {
    unsigned short found[4][8][8];
    for (int lane = 0; lane < 32; lane++)
        memcpy(found[lane / 8][lane % 8], ((HostRows*)mine[lane])->row, 16);
    for (int lane = 0; lane < 32; lane++) {
        int g = lane / 4, t = lane % 4;
        for (int i = 0; i < 4; i++) {
            unsigned low = transposed ? found[i][2 * t][g] : found[i][g][2 * t];
            unsigned high = transposed ? found[i][2 * t + 1][g] : found[i][g][2 * t + 1];
            ((HostRows*)mine[lane])->r[i] = low | high << 16;
        }
    }
}

extern "C" void host_ldmatrix_together(unsigned, void** mine, unsigned) { rows_together(mine, false); }
extern "C" void host_ldmatrix_transposed_together(unsigned, void** mine, unsigned) {
    rows_together(mine, true);
}

// ----------------------------------------------------------------------------------- the scheduler

static void fiber_main(void*) {
    for (;;) {
        call(kernel);
        now->state = ENDED;
        leave();
    }
}

#if defined(_WIN32)
static void* windows_fibers[MOST];
static void WINAPI windows_main(void* x) { fiber_main(x); }
static void prepare(Fiber* f) {
    int i = (int)(f - fibers);
    if (windows_fibers[i]) DeleteFiber(windows_fibers[i]);
    f->context = windows_fibers[i] = CreateFiber(STACK, windows_main, nullptr);
}
#elif defined(__x86_64__) || defined(__aarch64__)
static void prepare(Fiber* f) {
    uintptr_t top = ((uintptr_t)f->stack + STACK) & ~(uintptr_t)15;
    memcpy(f->stack, &CANARY, sizeof CANARY);
    void** sp = (void**)top;
#if defined(__x86_64__)
    *--sp = nullptr;                  // so that the stack is aligned at the call
    *--sp = nullptr;
    *--sp = (void*)fiber_first;       // where `ret` goes
    *--sp = nullptr;                  // rbp
    *--sp = nullptr;                  // rbx
    *--sp = nullptr;                  // r12: the argument
    *--sp = (void*)fiber_main;        // r13
    *--sp = nullptr;
    *--sp = nullptr;
#else
    sp -= 20;
    memset(sp, 0, 160);
    sp[1] = (void*)fiber_main;        // x20
    sp[11] = (void*)fiber_first;      // x30
#endif
    f->context = (Context)sp;
}
#else
static ucontext_t contexts[MOST];
static ucontext_t scheduler_context;
static void portable_main() { fiber_main(nullptr); }
static void prepare(Fiber* f) {
    ucontext_t* c = contexts + (f - fibers);
    getcontext(c);
    memcpy(f->stack, &CANARY, sizeof CANARY);
    c->uc_stack.ss_sp = f->stack;
    c->uc_stack.ss_size = STACK;
    c->uc_link = nullptr;
    makecontext(c, portable_main, 0);
    f->context = c;
}
#endif

static bool resume(Fiber* f) {
    now = f;
    threadIdx = f->index;
    fiber_switch(&scheduler, f->context);
#if !defined(_WIN32)
    unsigned canary;
    memcpy(&canary, f->stack, sizeof canary);
    if (!failed && canary != CANARY) note("the thread needs more than %zu bytes of stack", STACK);
#endif
    now = nullptr;
    return !failed;
}

// Lets lanes of a warp do what they do together, where all of them have come; whether any did.
static bool meet(int first, int lanes) {
    bool any = false;
    for (int i = 0; i < lanes && !failed; i++) {
        Fiber* f = fibers + first + i;
        if (f->state != IN_WARP) continue;
        unsigned mask = f->mask;
        void* mine[32] = {};
        bool all = true;
        for (int j = 0; j < 32 && all; j++) {
            if (!(mask >> j & 1)) continue;
            Fiber* o = fibers + first + j;
            all = j < lanes && o->state == IN_WARP && o->mask == mask && o->act == f->act &&
                  !strcmp(o->what, f->what);
            mine[j] = o->mine;
        }
        if (!all || !(mask >> i & 1)) continue;
        if (f->act) f->act(mask, mine, 32);
        for (int j = 0; j < lanes; j++)
            if (mask >> j & 1) fibers[first + j].state = READY;
        any = true;
    }
    return any;
}

static const char* does(const Fiber* f) {
    static char text[2][160];
    static int which;
    char* to = text[which ^= 1];
    if (f->state == ENDED)
        snprintf(to, 160, "thread (%u, %u, %u) has ended", f->index.x, f->index.y, f->index.z);
    else if (f->state == IN_WARP)
        snprintf(to, 160, "thread (%u, %u, %u) waits in %s, mask %08x", f->index.x, f->index.y,
                 f->index.z, f->what, f->mask);
    else
        snprintf(to, 160, "thread (%u, %u, %u) waits in %s", f->index.x, f->index.y, f->index.z,
                 f->what);
    return to;
}

// No thread can go on: say who waits in vain.
static void stuck() {
    for (int i = 0; i < n_threads; i++) {
        Fiber* f = fibers + i;
        if (f->state != IN_WARP) continue;
        int first = i / 32 * 32;
        if (!(f->mask >> (i - first) & 1))
            return note("%s, which does not name its own lane", does(f));
        for (int j = 0; j < 32; j++) {
            if (!(f->mask >> j & 1)) continue;
            if (first + j >= n_threads)
                return note("%s, but the block has no lane %d in that warp", does(f), j);
            Fiber* o = fibers + first + j;
            if (o->state != IN_WARP || o->mask != f->mask || o->act != f->act ||
                strcmp(o->what, f->what))
                return note("not all lanes of the mask reach the same %s: %s, %s", f->what, does(f),
                            does(o));
        }
    }
    for (int i = 0; i < n_threads; i++)
        for (int j = 0; j < n_threads; j++)
            if (fibers[i].state == IN_BLOCK &&
                (fibers[j].state != IN_BLOCK || fibers[j].act != fibers[i].act))
                return note("not all threads of the block reach the same %s: %s, %s", fibers[i].what,
                            does(fibers + i), does(fibers + j));
    note("threads wait for one another");
}

static void run_block() {
    int warps = (n_threads + 31) / 32, order[32];
    for (int i = 0; i < n_threads; i++) {
        Fiber* f = fibers + i;
        f->state = READY;
        f->n_copies = f->sets = 0;
        f->index.x = i % launch->block[0];
        f->index.y = i / launch->block[0] % launch->block[1];
        f->index.z = i / (launch->block[0] * launch->block[1]);
        prepare(f);
    }
    forget_shared();
    for (;;) {
        for (int w = 0; w < warps; w++) {  // in any order: no kernel may count on one
            int other = (int)(random_bits() % (w + 1));
            order[w] = order[other];
            order[other] = w;
        }
        for (int w = 0; w < warps; w++) {
            int first = order[w] * 32, lanes = n_threads - first < 32 ? n_threads - first : 32;
            do {
                bool backwards = random_bits() >> 20 & 1;
                for (int i = 0; i < lanes; i++) {
                    Fiber* f = fibers + first + (backwards ? lanes - 1 - i : i);
                    if (f->state == READY && !resume(f)) return;
                }
            } while (meet(first, lanes) && !failed);
            if (failed) return;
        }
        int ended = 0, waiting = 0;
        for (int i = 0; i < n_threads; i++) {
            ended += fibers[i].state == ENDED;
            waiting += fibers[i].state == IN_BLOCK && fibers[i].act == fibers[0].act;
        }
        if (ended == n_threads) break;
        if (waiting < n_threads) return stuck();
        if (fibers[0].act) {
            void* mine[MOST];
            for (int i = 0; i < n_threads; i++) mine[i] = fibers[i].mine;
            fibers[0].act(0, mine, n_threads);
        }
        for (int i = 0; i < n_threads; i++) fibers[i].state = READY;
    }
    for (size_t i = 0; i < GUARD; i++)
        if (dynamic_shared[launch->shared + i] != RUBBISH)
            return note("wrote to byte %zu of the dynamic shared memory, which has %zu",
                        launch->shared + i, launch->shared);
}

extern "C" int host_wrong_argument(HostLaunch* l, int which, const char* kinds, const int* sizes,
                                   int count) {
    if (l->count != count)
        snprintf(l->error, l->error_size, "it takes %d arguments, and was given %d", count, l->count);
    else
        snprintf(l->error, l->error_size,
                 "argument %d is a %s of %d bytes in the source, and was given as a %s of %d", which,
                 kinds[which] == 'p' ? "pointer" : kinds[which] == 'i' ? "integer"
                 : kinds[which] == 'f' ? "float" : kinds[which] == 'b' ? "bool" : "struct",
                 sizes[which],
                 l->kinds[which] == 'p' ? "pointer" : l->kinds[which] == 'i' ? "integer"
                 : l->kinds[which] == 'f' ? "float" : l->kinds[which] == 'b' ? "bool" : "struct",
                 l->sizes[which]);
    return 1;
}

extern "C" int host_run(HostLaunch* l, void (*c)(void*), void* k) {
    launch = l;
    call = c;
    kernel = k;
    failed = false;
    now = nullptr;
    n_regions = 0;
    dice = l->seed * 0x9E3779B97F4A7C15ull | 1;
    n_threads = (int)(l->block[0] * l->block[1] * l->block[2]);
    blockDim = dim3{l->block[0], l->block[1], l->block[2]};
    gridDim = dim3{l->grid[0], l->grid[1], l->grid[2]};
#if defined(_WIN32)
    static bool converted;
    if (!converted) scheduler = ConvertThreadToFiber(nullptr);
    converted = true;
    scheduler = GetCurrentFiber();
#else
    if (!*l->stacks) {
        void* found = mmap(nullptr, (MOST + 2) * STACK, PROT_READ | PROT_WRITE,
                           MAP_PRIVATE | MAP_ANON | MAP_NORESERVE, -1, 0);
        if (found == MAP_FAILED) {
            snprintf(l->error, l->error_size, "no memory for the stacks of threads");
            return 1;
        }
        *l->stacks = found;
    }
    for (int i = 0; i < n_threads; i++) fibers[i].stack = (char*)*l->stacks + (i + 2) * STACK;
#if !defined(__x86_64__) && !defined(__aarch64__)
    scheduler = &scheduler_context;
#endif
#endif
    for (int i = 0; i < l->count; i++)  // arrays, and addresses in a struct
        if (strchr("ptv", l->kinds[i]))
            for (int j = 0; j + 8 <= l->sizes[i]; j += 8)
                find_array(*(const char* const*)((const char*)l->args[i] + j));
    unsigned char* block = (unsigned char*)malloc(l->shared + GUARD + 128);
    dynamic_shared = (unsigned char*)(((uintptr_t)block + 127) & ~(uintptr_t)127);
    unsigned long long blocks = (unsigned long long)l->grid[0] * l->grid[1] * l->grid[2];
    bool backwards = random_bits() >> 20 & 1;
    for (unsigned long long b = 0; b < blocks && !failed; b++) {
        unsigned long long i = backwards ? blocks - 1 - b : b;
        blockIdx.x = (unsigned)(i % l->grid[0]);
        blockIdx.y = (unsigned)(i / l->grid[0] % l->grid[1]);
        blockIdx.z = (unsigned)(i / l->grid[0] / l->grid[1]);
        run_block();
    }
    free(block);
    return failed;
}
