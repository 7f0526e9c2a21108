/* The limits of hardened images (base/limits.h). */
#pragma once
#define LIMITS_FILE "dvm/image/limits.def"
#include "base/limits.h"
