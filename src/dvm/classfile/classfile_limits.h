/*
 * The limits of class files as constants; the table with units is limits.def.
 */
#pragma once
#define LIMITS_FILE "dvm/classfile/limits.def"
#include "base/limits.h"
