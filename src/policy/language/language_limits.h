/* Limits of the policy's language and table. */
#pragma once
#define LIMITS_FILE "policy/language/limits.def"
#include "base/limits.h"
