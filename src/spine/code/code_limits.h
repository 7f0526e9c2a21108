/*
 * The limits of limits.def as constants.
 */
#pragma once
#define LIMITS_FILE "spine/code/limits.def"
#include "base/limits.h"
