/*
 * The limits of sys as constants; the table with units and sources is limits.def.
 */
#pragma once
#define LIMITS_FILE "sys/limits.def"
#include "base/limits.h"
