/*
 * `prickle spine doctor`: what this kernel offers, and what is different without the rest.
 */
#include "cli/spine.h"
#include "spine/doctor.h"

static const char *const states[] = { [DOCTOR_OK] = "ok", [DOCTOR_DEGRADED] = "degraded", [DOCTOR_MISSING] = "missing" };

static int run_doctor(struct cli *cli)
{
	struct doctor_row rows[DOCTOR_ROWS_MAX];
	AUTO_BUF struct buf text = BUF_INIT(65536);
	size_t count = doctor_look(rows);
	json_t *list = cli_json(cli) ? json_array() : NULL;
	bool missing = false;
	int code;

	for (size_t i = 0; i < count; i++) {
		const struct doctor_row *r = &rows[i];

		missing |= r->state == DOCTOR_MISSING;
		if (list != NULL) {
			json_array_append_new(list, json_pack("{s:s, s:s, s:s, s:s, s:s}", "name", r->name, "state", states[r->state],
							      "found", r->detail, "for", r->what, "means", r->means));
			continue;
		}
		buf_printf(&text, "%-9s %-17s %s (%s)\n", states[r->state], r->name, r->detail, r->what);
		if (*r->means != '\0')
			buf_printf(&text, "%28s%s\n", "", r->means);
	}
	if (list != NULL) {
		code = spine_cli_json(cli, json_pack("{s:b, s:o}", "works", (int)!missing, "features", list));
	} else {
		buf_adds(&text, missing ? "SPINE does not work here.\n" : "SPINE works here.\n");
		code = cli_print(cli, &text);
	}
	return code != CLI_OK ? code : missing ? CLI_DEGRADED : CLI_OK;
}

const struct cli_command cmd_spine_doctor = {
	.words = "spine doctor",
	.summary = "show what this kernel offers to extensions, and what is degraded",
	.description = "Each row is tried with a tiny program or map. Exit code 3 when something is missing without which nothing works.",
	.json = true,
	.examples = (const char *const[]){ "prickle spine doctor", NULL },
	.run = run_doctor,
};
