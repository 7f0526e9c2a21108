/*
 * What files, objects and other processes may make us hold or do: limits.def as constants.
 */
#pragma once
#define LIMITS_FILE "spine/limits.def"
#include "base/limits.h"
