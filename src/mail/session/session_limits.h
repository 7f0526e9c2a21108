/*
 * The limits of sessions as constants; the table with units and sources is limits.def.
 */
#pragma once
#define LIMITS_FILE "mail/session/limits.def"
#include "base/limits.h"
