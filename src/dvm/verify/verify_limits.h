/*
 * The limits of the verifier as constants; the table with units is limits.def.
 */
#pragma once
#define LIMITS_FILE "dvm/verify/limits.def"
#include "base/limits.h"
