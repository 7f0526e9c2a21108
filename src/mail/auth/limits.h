/*
 * The limits of authentication as constants; the table is limits.def.
 */
#pragma once

#define LIMITS_FILE "mail/auth/limits.def"
#include "base/limits.h"
