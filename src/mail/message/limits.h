/*
 * The limits of limits.def as constants.
 */
#pragma once

enum message_limit {
#define LIMIT(name, value, unit, setting, source, generator) name = (value),
#include "mail/message/limits.def"
#undef LIMIT
};
