/* A driver of NVIDIA's without a GPU, for tests: it can be asked and initialized, and runs nothing.

   One library under two names, libcuda.so.1 and libnvidia-ml.so.1. Environment variables, read at each call:

   FAKE_CUDA_LOG      a file to which each cuInit adds the process id
   FAKE_CUDA_INIT     what cuInit answers; by default 100, no device
   FAKE_CUDA_VERSION  the version of CUDA that the driver supports; by default 13000
   FAKE_NVML_GPUS     the number of GPUs that NVML finds; by default 1
*/
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { SUCCESS = 0, NOT_INITIALIZED = 3, NO_DEVICE = 100, NOT_SUPPORTED = 801 };

static int initialized;

static int setting(const char *name, int otherwise) {
    const char *value = getenv(name);
    return value == NULL ? otherwise : atoi(value);
}

int cuInit(unsigned flags) {
    const char *path = getenv("FAKE_CUDA_LOG");
    FILE *log = path == NULL ? NULL : fopen(path, "a");
    if (log != NULL) {
        fprintf(log, "%d\n", getpid());
        fclose(log);
    }
    int answer = setting("FAKE_CUDA_INIT", NO_DEVICE);
    initialized = answer == SUCCESS;
    return answer;
}

int cuDriverGetVersion(int *version) {
    *version = setting("FAKE_CUDA_VERSION", 13000);
    return SUCCESS;
}

int cuDeviceGetCount(int *count) {
    *count = initialized;
    return initialized ? SUCCESS : NOT_INITIALIZED;
}

int cuGetErrorString(int error, const char **text) {
    *text = "an error of the fake driver";
    return SUCCESS;
}

int cuGetErrorName(int error, const char **text) {
    *text = "CUDA_ERROR_FAKE";
    return SUCCESS;
}

int cuGetExportTable(const void **table, const void *id) { return NOT_SUPPORTED; }

static int unknown(void) { return initialized ? NOT_SUPPORTED : NOT_INITIALIZED; }

int cuGetProcAddress_v2(const char *name, void **function, int version, unsigned long long flags, int *status);

static const struct { const char *name; void *function; } FUNCTIONS[] = {
    {"cuInit", (void *)cuInit},
    {"cuDriverGetVersion", (void *)cuDriverGetVersion},
    {"cuDeviceGetCount", (void *)cuDeviceGetCount},
    {"cuGetErrorString", (void *)cuGetErrorString},
    {"cuGetErrorName", (void *)cuGetErrorName},
    {"cuGetProcAddress", (void *)cuGetProcAddress_v2},
};

/* The runtime asks for some hundred functions, and gives up where one is missing. */
int cuGetProcAddress_v2(const char *name, void **function, int version, unsigned long long flags, int *status) {
    *function = (void *)unknown;
    for (unsigned i = 0; i < sizeof FUNCTIONS / sizeof *FUNCTIONS; i++)
        if (strcmp(name, FUNCTIONS[i].name) == 0) *function = FUNCTIONS[i].function;
    if (status != NULL) *status = 0;
    return SUCCESS;
}

int cuGetProcAddress(const char *name, void **function, int version, unsigned long long flags) {
    return cuGetProcAddress_v2(name, function, version, flags, NULL);
}

int nvmlInit(void) { return 0; }
int nvmlInit_v2(void) { return 0; }
int nvmlShutdown(void) { return 0; }
int nvmlDeviceGetCount_v2(unsigned *count) {
    *count = (unsigned)setting("FAKE_NVML_GPUS", 1);
    return 0;
}
