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

/*
 *	ticket give for=ADDRESS label= from= to= seconds= who= because=; list [who=]; revoke ID [who=]
 * These come from the control role alone, which has decided (roles/caller.h).
 *
 * Who is the user of the system with this uid (be32)? Appends u8 1, blob address, blob groups; or u8 0 and two empty blobs.
 */
void auth_admin_who(struct auth *a, struct slice payload, struct buf *reply);

/* Serve one request; appends an admin reply. Waits for the store, and for a hash (fiber). */
void auth_admin_serve(struct auth *a, struct slice request, struct buf *reply);
