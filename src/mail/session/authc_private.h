/* What authc.c and authc_shares.c share. For nobody else. */
#pragma once
#include "mail/session/authc_shares.h"

/* Ask auth, once more when it dies over it. 0 or a negative errno. */
MUST_USE int authc_call(struct authc *a, uint8_t type, const struct buf *payload, struct buf *reply);
/* Who is logged in with this grant; borrowed until the next wait. */
MUST_USE bool authc_address_of(struct authc *a, const uint8_t grant[AUTHC_GRANT_BYTES], struct slice *address);
