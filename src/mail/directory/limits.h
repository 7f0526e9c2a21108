/*
 * The limits of the directory as constants; the table is limits.def.
 */
#pragma once

#define LIMITS_FILE "mail/directory/limits.def"
#include "base/limits.h"
