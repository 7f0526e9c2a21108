/* Limits of the policy's store and its audit. */
#pragma once
#define LIMITS_FILE "policy/limits.def"
#include "base/limits.h"
