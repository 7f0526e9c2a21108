/* The limits of the queue, from limits.def. */
#pragma once
#define LIMITS_FILE "mail/queue/limits.def"
#include "base/limits.h"
