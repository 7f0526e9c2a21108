/* What the slow path is bounded by: constants of limits.def. */
#pragma once
#define LIMITS_FILE "nat64/slow/limits.def"
#include "base/limits.h"
