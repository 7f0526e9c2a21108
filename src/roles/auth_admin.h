/*
 * `prickle domain|user|alias ...`, as the auth role answers them (roles/admin.h).
 *
 *	domain add|set NAME [quota=BYTES] [messages=N]; list [after=]; show NAME; remove NAME
 *	user add|set ADDRESS [password=] [hash=] [name=] [disabled=yes|no] [quota=BYTES|domain]
 *	     [messages=N] [groups=A,B] [system-user=UID]; list [domain=] [after=]; show ADDRESS; remove ADDRESS
 *	alias add|set ADDRESS TARGET...; list [domain=] [after=]; show ADDRESS; remove ADDRESS
 * An alias "@example.org" takes what nobody else at that domain takes.
 */
#pragma once
#include "base/buf.h"

struct auth;

/* Serve one request; appends an admin reply. Waits for the store, and for a hash (fiber). */
void auth_admin_serve(struct auth *a, struct slice request, struct buf *reply);
