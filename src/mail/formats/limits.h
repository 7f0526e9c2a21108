/*
 * The maxima of limits.def as constants, for the code that enforces them.
 */
#pragma once
#define LIMITS_FILE "mail/formats/limits.def"
#include "base/limits.h"
