/*
 * The maxima of limits.def as constants, for the code that enforces them.
 */
#pragma once
#define LIMITS_FILE "mail/smtp/limits.def"
#include "base/limits.h"
