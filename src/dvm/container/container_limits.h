/*
 * The limits of jars and images as constants; the table with units is limits.def.
 */
#pragma once
#define LIMITS_FILE "dvm/container/limits.def"
#include "base/limits.h"
