/*
 * What programs that share a channel may make us hold or do: limits.def as constants. What the rings
 * hold is in <prickle/spine_ring.h>, since extensions are compiled with it.
 */
#pragma once
#define LIMITS_FILE "spine/message/limits.def"
#include "base/limits.h"
