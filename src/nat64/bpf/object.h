/*
 * The translator's programs for the kernel as built into this program: no compiler and no file at run time.
 */
#pragma once
#include "base/slice.h"

/* The ELF object for bpf_object__open_mem; empty when this program was built without clang. Lives as long as the program. */
struct slice nat64_object(void);
