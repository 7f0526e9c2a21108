/* Limits of the policy's analysis. */
#pragma once
#define LIMITS_FILE "policy/analysis/limits.def"
#include "base/limits.h"
