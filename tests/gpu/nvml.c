/* A driver for GPUs that are a file: libnvidia-ml.so.1 with the functions that microbench and torch call.

   FAKE_NVML names the file, which tests map and change while pynvml reads it (fake_nvml.py has the same layout).
   Every function counts its calls, and returns the error that the file has for it, if any. Types, constants and
   signatures are those of NVIDIA's documented interface (nvml.h). */
#include <fcntl.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

enum {
  SUCCESS = 0,
  UNINITIALIZED = 1,
  INVALID_ARGUMENT = 2,
  NOT_SUPPORTED = 3,
  NO_PERMISSION = 4,
  NOT_FOUND = 6,
  INSUFFICIENT_SIZE = 7,
  DRIVER_NOT_LOADED = 9,
};

/* The order of NAMES in fake_nvml.py. */
enum { MEMORY, PROCESSES, ENERGY, POWER, INSTANT, TEMPERATURE, CLOCK, REASONS, UTILIZATION, AFFINITY, FACT, CALLS };

enum { MOST_GPUS = 4, MOST_PROCESSES = 16, MOST_WORDS = 16 };

typedef struct {
  uint32_t pid;
  uint32_t unused;
  uint64_t memory;
} Process;

typedef struct {
  char uuid[96], name[96], bus[32];
  uint64_t total, reserved, used, energy, reasons;
  uint64_t near[MOST_WORDS];
  uint32_t power, instant, power_limit, temperature, sm_clock, memory_clock, sm_limit, memory_limit;
  uint32_t utilization, ecc, mig, pstate, link, width, part, processes;
  Process process[MOST_PROCESSES];
  int32_t fails[CALLS];
  uint32_t calls[CALLS];
} Gpu;

typedef struct {
  uint32_t gpus;
  int32_t fails; /* what initializing returns */
  uint32_t opened, unused;
  char driver[80];
  Gpu gpu[MOST_GPUS];
} State;

static State *state;
static int users;

static int begin(void) {
  if (!state) {
    const char *path = getenv("FAKE_NVML");
    int file = path ? open(path, O_RDWR) : -1;
    if (file < 0) return DRIVER_NOT_LOADED;
    void *found = mmap(NULL, sizeof(State), PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
    close(file);
    if (found == MAP_FAILED) return DRIVER_NOT_LOADED;
    state = found;
  }
  if (state->fails) return state->fails;
  users++;
  state->opened++;
  return SUCCESS;
}

/* For tests: forget the file, so that the next initialization maps another. */
void fakeNvmlForget(void) {
  if (state) munmap(state, sizeof(State));
  state = NULL;
  users = 0;
}

#define ASK(gpu, call)                                    \
  do {                                                    \
    if (!users) return UNINITIALIZED;                     \
    (gpu)->calls[call]++;                                 \
    if ((gpu)->fails[call]) return (gpu)->fails[call];    \
  } while (0)

int nvmlInitWithFlags(unsigned flags) { (void)flags; return begin(); }
int nvmlInit_v2(void) { return begin(); }
int nvmlInit(void) { return begin(); }

int nvmlShutdown(void) {
  if (!users) return UNINITIALIZED;
  users--;
  state->opened--;
  return SUCCESS;
}

const char *nvmlErrorString(int error) {
  switch (error) {
    case NOT_SUPPORTED: return "Not Supported";
    case NO_PERMISSION: return "Insufficient Permissions";
    case NOT_FOUND: return "Not Found";
    case DRIVER_NOT_LOADED: return "Driver Not Loaded";
    default: return "Unknown Error";
  }
}

int nvmlSystemGetDriverVersion(char *out, unsigned size) {
  if (!users) return UNINITIALIZED;
  snprintf(out, size, "%s", state->driver);
  return SUCCESS;
}

int nvmlDeviceGetCount_v2(unsigned *out) {
  if (!users) return UNINITIALIZED;
  *out = state->gpus;
  return SUCCESS;
}

int nvmlDeviceGetHandleByIndex_v2(unsigned index, Gpu **out) {
  if (!users) return UNINITIALIZED;
  if (index >= state->gpus) return INVALID_ARGUMENT;
  *out = &state->gpu[index];
  return SUCCESS;
}

int nvmlDeviceGetHandleByUUID(const char *uuid, Gpu **out) {
  if (!users) return UNINITIALIZED;
  for (unsigned each = 0; each < state->gpus; each++) {
    *out = &state->gpu[each];
    if (!strcmp((*out)->uuid, uuid)) return SUCCESS;
  }
  return NOT_FOUND;
}

int nvmlDeviceGetName(Gpu *gpu, char *out, unsigned size) {
  ASK(gpu, FACT);
  snprintf(out, size, "%s", gpu->name);
  return SUCCESS;
}

int nvmlDeviceGetUUID(Gpu *gpu, char *out, unsigned size) {
  ASK(gpu, FACT);
  snprintf(out, size, "%s", gpu->uuid);
  return SUCCESS;
}

/* A part of a GPU (MIG) has memory and processes of its own; the rest is the whole GPU's, the first in the file. */
#define WHOLE(gpu)                            \
  do {                                        \
    if ((gpu)->part) return INVALID_ARGUMENT; \
  } while (0)

int nvmlDeviceGetDeviceHandleFromMigDeviceHandle(Gpu *part, Gpu **out) {
  if (!users) return UNINITIALIZED;
  if (!part->part) return INVALID_ARGUMENT;
  *out = &state->gpu[0];
  return SUCCESS;
}

typedef struct { unsigned version; unsigned long long total, reserved, free, used; } Memory;

int nvmlDeviceGetMemoryInfo_v2(Gpu *gpu, Memory *out) {
  ASK(gpu, MEMORY);
  out->total = gpu->total;
  out->reserved = gpu->reserved;
  out->used = gpu->used;
  out->free = gpu->total - gpu->reserved - gpu->used;
  return SUCCESS;
}

typedef struct { unsigned pid; unsigned long long memory; unsigned instance, compute; } Info;

int nvmlDeviceGetComputeRunningProcesses_v3(Gpu *gpu, unsigned *count, Info *out) {
  ASK(gpu, PROCESSES);
  unsigned room = *count;
  *count = gpu->processes;
  if (!gpu->processes) return SUCCESS;
  if (!out || room < gpu->processes) return INSUFFICIENT_SIZE;
  for (unsigned each = 0; each < gpu->processes; each++)
    out[each] = (Info){gpu->process[each].pid, gpu->process[each].memory, ~0u, ~0u};
  return SUCCESS;
}

int nvmlDeviceGetTotalEnergyConsumption(Gpu *gpu, unsigned long long *out) {
  WHOLE(gpu);
  ASK(gpu, ENERGY);
  *out = gpu->energy;
  return SUCCESS;
}

int nvmlDeviceGetPowerUsage(Gpu *gpu, unsigned *out) {
  WHOLE(gpu);
  ASK(gpu, POWER);
  *out = gpu->power;
  return SUCCESS;
}

typedef struct {
  unsigned id, scope;
  long long stamp, latency;
  int type, result;
  union { double real; int i; unsigned u; unsigned long l; unsigned long long ll; } value;
} Field;

int nvmlDeviceGetFieldValues(Gpu *gpu, int count, Field *fields) {
  WHOLE(gpu);
  if (!users) return UNINITIALIZED;
  gpu->calls[INSTANT]++;
  for (int each = 0; each < count; each++) {
    fields[each].type = 1;
    fields[each].result = fields[each].id != 186 ? NOT_SUPPORTED : gpu->fails[INSTANT];
    fields[each].value.u = gpu->instant;
  }
  return SUCCESS;
}

int nvmlDeviceGetEnforcedPowerLimit(Gpu *gpu, unsigned *out) {
  WHOLE(gpu);
  ASK(gpu, FACT);
  *out = gpu->power_limit;
  return SUCCESS;
}

int nvmlDeviceGetTemperature(Gpu *gpu, int sensor, unsigned *out) {
  WHOLE(gpu);
  if (sensor) return INVALID_ARGUMENT;
  ASK(gpu, TEMPERATURE);
  *out = gpu->temperature;
  return SUCCESS;
}

int nvmlDeviceGetClockInfo(Gpu *gpu, int kind, unsigned *out) {
  WHOLE(gpu);
  ASK(gpu, CLOCK);
  *out = kind == 2 ? gpu->memory_clock : gpu->sm_clock;
  return SUCCESS;
}

int nvmlDeviceGetMaxClockInfo(Gpu *gpu, int kind, unsigned *out) {
  WHOLE(gpu);
  ASK(gpu, FACT);
  *out = kind == 2 ? gpu->memory_limit : gpu->sm_limit;
  return SUCCESS;
}

int nvmlDeviceGetCurrentClocksEventReasons(Gpu *gpu, unsigned long long *out) {
  WHOLE(gpu);
  ASK(gpu, REASONS);
  *out = gpu->reasons;
  return SUCCESS;
}

typedef struct { unsigned gpu, memory; } Utilization;

int nvmlDeviceGetUtilizationRates(Gpu *gpu, Utilization *out) {
  WHOLE(gpu);
  ASK(gpu, UTILIZATION);
  *out = (Utilization){gpu->utilization, 0};
  return SUCCESS;
}

int nvmlDeviceGetCpuAffinity(Gpu *gpu, unsigned words, unsigned long *out) {
  WHOLE(gpu);
  ASK(gpu, AFFINITY);
  for (unsigned each = 0; each < words; each++) out[each] = each < MOST_WORDS ? gpu->near[each] : 0;
  return SUCCESS;
}

typedef struct {
  char legacy[16];
  unsigned domain, bus, device, id, subsystem;
  char text[32];
} Pci;

int nvmlDeviceGetPciInfo_v3(Gpu *gpu, Pci *out) {
  WHOLE(gpu);
  ASK(gpu, FACT);
  snprintf(out->text, sizeof out->text, "%s", gpu->bus);
  return SUCCESS;
}

int nvmlDeviceGetEccMode(Gpu *gpu, unsigned *now, unsigned *later) {
  WHOLE(gpu);
  ASK(gpu, FACT);
  *now = *later = gpu->ecc;
  return SUCCESS;
}

int nvmlDeviceGetMigMode(Gpu *gpu, unsigned *now, unsigned *later) {
  WHOLE(gpu);
  ASK(gpu, FACT);
  *now = *later = gpu->mig;
  return SUCCESS;
}

int nvmlDeviceGetPerformanceState(Gpu *gpu, int *out) {
  WHOLE(gpu);
  ASK(gpu, FACT);
  *out = (int)gpu->pstate;
  return SUCCESS;
}

int nvmlDeviceGetCurrPcieLinkGeneration(Gpu *gpu, unsigned *out) {
  WHOLE(gpu);
  ASK(gpu, FACT);
  *out = gpu->link;
  return SUCCESS;
}

int nvmlDeviceGetCurrPcieLinkWidth(Gpu *gpu, unsigned *out) {
  WHOLE(gpu);
  ASK(gpu, FACT);
  *out = gpu->width;
  return SUCCESS;
}
