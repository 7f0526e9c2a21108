/* Limits of jars and images (base/limits.h). */
#pragma once
#define LIMITS_FILE "dvm/container/limits.def"
#include "base/limits.h"
