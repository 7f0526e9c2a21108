/*
 * The limits of limits.def as constants.
 */
#pragma once

#define LIMITS_FILE "mail/message/limits.def"
#include "base/limits.h"
