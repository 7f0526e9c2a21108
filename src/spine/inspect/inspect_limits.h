/*
 * The limits of the inspector as constants; the table with units is limits.def.
 */
#pragma once
#define LIMITS_FILE "spine/inspect/limits.def"
#include "base/limits.h"
