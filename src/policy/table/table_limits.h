/* Limits of the table in memory. */
#pragma once
#define LIMITS_FILE "policy/table/limits.def"
#include "base/limits.h"
