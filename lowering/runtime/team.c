/* The thread team of a context: workers that run the model's code together and wait for each other at its barriers.
 *
 * The threads are made by the clone system call, not by pthread_create: an artifact has no C library, and whichever
 * one the process has (or has not) is not asked. That is sound because a worker runs nothing but the model's code
 * and this file: no function of a C library, so none of its locks, caches or thread-local data; its FS register
 * points to a block of its own, so that even a stray access would not meet another thread's. All signals are blocked
 * before the thread exists, so the process's handlers, which expect their library's threads, never run on it. To the
 * kernel it is an ordinary thread of the process: exit ends it, debuggers and profilers see it. After a fork the
 * child has no workers, which `process` tells: it runs alone, to the same result. A host that wants no threads but
 * its own lends them (`parallel` in sirius_options).
 *
 * Waiting is spinning for some tens of microseconds, as long as waking a sleeper takes, then sleeping on a futex. Who
 * shares its processor with another worker does not spin: the other one stands still meanwhile. The kernel puts two
 * workers on one processor when all others are busy, and leaves them there, since they never run at once; so a thread of
 * ours asks for another processor first, from time to time, and sleeps if that does not help. */

enum { SYS_MPROTECT = 10, SYS_SIGNAL_MASK = 14, SYS_GETPID = 39, SYS_CLONE = 56, SYS_EXIT = 60, SYS_PRCTL = 157 };
enum { SYS_FUTEX = 202, FUTEX_SLEEP_SHARED = 0, FUTEX_SLEEP = 128, FUTEX_WAKE = 129 };
enum { MASK_SET = 2, NAME_THREAD = 15, PROT_GUARD = 0 };
enum {
  /* Memory, file system, files, signal handlers, thread group and semaphores are the process's. */
  CLONE_SHARED = 0x100 | 0x200 | 0x400 | 0x800 | 0x10000 | 0x40000,
  CLONE_SET_FS = 0x80000,
  CLONE_CLEAR_ALIVE = 0x200000
};
enum { SYS_SET_AFFINITY = 203, SYS_GET_AFFINITY = 204, SYS_GETCPU = 309 };
enum { CPUS = 4096, MOST_PATIENCE = 1023 };
enum { STACK = 512 << 10, SPINS = 1000, SPINS_TOGETHER = 64, CACHE_LINE = 64 };

/* A counter that one side raises and the others wait for. */
typedef struct {
  _Alignas(CACHE_LINE) uint32_t value;
  uint32_t sleepers;
} event;

typedef struct team team;

typedef struct {
  _Alignas(CACHE_LINE) sirius_worker worker; /* first: the code hands it back to team_wait */
  team *team;
  uint32_t alive; /* cleared, and its sleepers woken, by the kernel when the thread and its stack are done */
  uintptr_t fs[8];
  uint32_t *cpu; /* in the team's list */
  uint32_t rest, patience; /* waits until the thread may move again, and the last time */
} member;

struct team {
  event job, phase;
  _Alignas(CACHE_LINE) uint32_t arrived;
  _Alignas(CACHE_LINE) int64_t count;
  size_t bytes; /* of this allocation */
  long process;
  int stop;
  uint32_t float_control;
  int32_t (*body)(void **, int64_t *, sirius_worker *);
  void **arrays;
  int64_t *params;
  int32_t result;
  void (*parallel)(void *user, uint32_t n, void (*task)(void *argument, uint32_t index), void *argument);
  void *user;
  uint32_t *cpus; /* where each worker was when it last waited; written only when that changes */
  int knows_cpus;
  member members[];
};

/* The processor that this runs on, as Linux numbers them (see `rdtscp` in its vDSO), by one instruction. */
static uint32_t cpu_number(void) {
  uint32_t number;
  __builtin_ia32_rdtscp(&number);
  return number & 0xfff;
}

/* Does the instruction say what the kernel says? Some sandboxes leave it without a number. */
static int cpu_numbers_hold(void) {
  for (int tries = 0; tries < 3; tries++) {
    uint32_t number = 0;
    if (failed(system_call(SYS_GETCPU, (long)&number, 0, 0, 0, 0, 0))) return 0;
    if (number == cpu_number()) return 1;
  }
  return 0;
}

static void member_is_here(member *m) {
  uint32_t here = cpu_number();
  if (__atomic_load_n(m->cpu, __ATOMIC_RELAXED) != here) __atomic_store_n(m->cpu, here, __ATOMIC_RELAXED);
}

/* Was another worker last seen on this one's processor? */
static int member_shares(const member *m) {
  const team *t = m->team;
  for (int64_t i = 0; t->knows_cpus && i < t->count; i++)
    if (&t->cpus[i] != m->cpu && __atomic_load_n(&t->cpus[i], __ATOMIC_RELAXED) == *m->cpu) return 1;
  return 0;
}

/* Moves this thread to any other processor that it may run on: for a moment, it may not run on its own. */
static void member_move(const member *m) {
  uint64_t may[CPUS / 64] = {0}, other[CPUS / 64];
  long bytes = system_call(SYS_GET_AFFINITY, 0, sizeof may, (long)may, 0, 0, 0);
  if (failed(bytes)) return;
  memcpy(other, may, sizeof may);
  other[*m->cpu / 64] &= ~((uint64_t)1 << *m->cpu % 64);
  /* Refused where there is no other. */
  if (failed(system_call(SYS_SET_AFFINITY, 0, bytes, (long)other, 0, 0, 0))) return;
  system_call(SYS_SET_AFFINITY, 0, bytes, (long)may, 0, 0, 0);
}

/* The same if it is a thread of ours whose turn it is: twice as many waits later every time, up to a thousand. */
static int member_moves(member *m) {
  if (m->worker.number == 0 || m->team->parallel) return 0;
  if (m->rest > 0) return m->rest--, 0;
  m->patience = m->patience < MOST_PATIENCE ? 2 * m->patience + 1 : MOST_PATIENCE;
  m->rest = m->patience;
  member_move(m);
  member_is_here(m);
  return 1;
}

static void event_raise(event *e) {
  __atomic_add_fetch(&e->value, 1, __ATOMIC_SEQ_CST);
  /* Whoever counts itself a sleeper after this looks at the value again before it sleeps. */
  if (__atomic_load_n(&e->sleepers, __ATOMIC_SEQ_CST))
    system_call(SYS_FUTEX, (long)&e->value, FUTEX_WAKE, INT32_MAX, 0, 0, 0);
}

static void event_await(event *e, uint32_t old, member *m) {
  member_is_here(m);
  for (int i = 0; i < SPINS; i++) {
    if (__atomic_load_n(&e->value, __ATOMIC_ACQUIRE) != old) return;
    if (i % SPINS_TOGETHER == SPINS_TOGETHER - 1 && member_shares(m) && !member_moves(m)) break;
    __builtin_ia32_pause();
  }
  __atomic_add_fetch(&e->sleepers, 1, __ATOMIC_SEQ_CST);
  while (__atomic_load_n(&e->value, __ATOMIC_SEQ_CST) == old)
    system_call(SYS_FUTEX, (long)&e->value, FUTEX_SLEEP, old, 0, 0, 0);
  __atomic_sub_fetch(&e->sleepers, 1, __ATOMIC_SEQ_CST);
  member_is_here(m);
}

/* The barrier that the code calls. */
static void team_wait(sirius_worker *worker) {
  team *t = ((member *)worker)->team;
  uint32_t phase = __atomic_load_n(&t->phase.value, __ATOMIC_ACQUIRE);
  if (__atomic_add_fetch(&t->arrived, 1, __ATOMIC_ACQ_REL) < t->count) {
    event_await(&t->phase, phase, (member *)worker);
  } else {
    __atomic_store_n(&t->arrived, 0, __ATOMIC_RELAXED);
    event_raise(&t->phase);
  }
}

static void wait_alone(sirius_worker *worker) { (void)worker; }

/* One worker's part of a run, with the caller's rounding and denormals: results must not depend on who computes. */
static void member_run(void *argument, uint32_t index) {
  team *t = argument;
  uint32_t own = __builtin_ia32_stmxcsr();
  __builtin_ia32_ldmxcsr(t->float_control);
  member_is_here(&t->members[index]);
  int32_t result = t->body(t->arrays, t->params, &t->members[index].worker);
  if (index == 0) t->result = result;
  team_wait(&t->members[index].worker);
  __builtin_ia32_ldmxcsr(own);
}

/* The life of a thread. */
static void member_live(member *m) {
  system_call(SYS_PRCTL, NAME_THREAD, (long)"sirius worker", 0, 0, 0, 0);
  for (uint32_t job = 0;; job++) {
    event_await(&m->team->job, job, m);
    if (m->team->stop) return;
    member_run(m->team, (uint32_t)m->worker.number);
  }
}

/* Starts `member_live(m)` on a stack that ends at `top`; a negative number when the kernel refuses. */
static long thread_start(member *m, void **top) {
  long result;
  register long alive __asm__("r10") = (long)&m->alive;
  register long fs __asm__("r8") = (long)m->fs;
  top[-1] = m;
  top[-2] = (void *)member_live;
  __asm__ volatile(
      "syscall\n\t"
      "test %%rax, %%rax\n\t"
      "jnz 1f\n\t"
      "xor %%ebp, %%ebp\n\t"
      "pop %%rax\n\t"
      "pop %%rdi\n\t"
      "call *%%rax\n\t"
      "xor %%edi, %%edi\n\t"
      "mov %[end], %%eax\n\t"
      "syscall\n"
      "1:"
      : "=a"(result)
      : "a"(SYS_CLONE), "D"(CLONE_SHARED | CLONE_SET_FS | CLONE_CLEAR_ALIVE), "S"(top - 2), "d"(0), "r"(alive),
        "r"(fs), [end] "i"(SYS_EXIT)
      : "rcx", "r11", "memory");
  return result;
}

/* The same with all signals blocked in the new thread. */
static int member_start(member *m, uint8_t *stack) {
  uint64_t all = ~(uint64_t)0, before;
  m->fs[0] = (uintptr_t)m->fs;
  m->alive = 1;
  system_call(SYS_MPROTECT, (long)stack, PAGE, PROT_GUARD, 0, 0, 0);
  system_call(SYS_SIGNAL_MASK, MASK_SET, (long)&all, (long)&before, sizeof all, 0, 0);
  long thread = thread_start(m, (void **)(stack + STACK));
  system_call(SYS_SIGNAL_MASK, MASK_SET, (long)&before, 0, sizeof before, 0, 0);
  if (failed(thread)) m->alive = 0;
  return !failed(thread);
}

/* Ends the threads, waits until their stacks are free, and frees them. A forked child has only the memory. */
static void team_stop(team *t) {
  if (!t) return;
  int mine = t->process == system_call(SYS_GETPID, 0, 0, 0, 0, 0, 0);
  t->stop = 1;
  if (mine) event_raise(&t->job);
  for (int64_t i = 1; mine && i < t->count; i++) {
    uint32_t *alive = &t->members[i].alive;
    while (__atomic_load_n(alive, __ATOMIC_ACQUIRE)) system_call(SYS_FUTEX, (long)alive, FUTEX_SLEEP_SHARED, 1, 0, 0, 0);
  }
  pages_free(t, t->bytes);
}

/* The workers for `wanted` threads: `most` must be a multiple, since memory is laid out for it. */
static int64_t team_size(int64_t most, int64_t wanted) {
  int64_t count = wanted && wanted < most ? wanted : most;
  while (most % count) count--;
  return count;
}

/* A team of `count` workers, on lent threads or on its own, or NULL. */
static team *team_start(int64_t count, const sirius_options *lent) {
  size_t cpus = sizeof(team) + (size_t)count * sizeof(member);
  size_t head = whole_pages(cpus + (size_t)count * sizeof(uint32_t));
  size_t bytes = head + (lent ? 0 : (size_t)(count - 1) * STACK);
  team *t = pages_reserve(bytes);
  if (!t) return NULL;
  t->bytes = bytes;
  t->count = count;
  t->cpus = (uint32_t *)((uint8_t *)t + cpus);
  t->knows_cpus = cpu_numbers_hold();
  t->process = system_call(SYS_GETPID, 0, 0, 0, 0, 0, 0);
  if (lent) t->parallel = lent->parallel, t->user = lent->user;
  for (int64_t i = 0; i < count; i++) {
    t->members[i].worker = (sirius_worker){i, count, team_wait};
    t->members[i].team = t;
    t->members[i].cpu = &t->cpus[i];
    t->cpus[i] = UINT32_MAX;
  }
  for (int64_t i = 1; i < count && !lent; i++)
    if (!member_start(&t->members[i], (uint8_t *)t + head + (size_t)(i - 1) * STACK)) return team_stop(t), NULL;
  return t;
}

static int32_t team_run(team *t) {
  t->float_control = __builtin_ia32_stmxcsr();
  if (t->parallel) {
    t->parallel(t->user, (uint32_t)t->count, member_run, t);
  } else {
    event_raise(&t->job);
    member_run(t, 0);
  }
  return t->result;
}
