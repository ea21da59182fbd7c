#!/bin/sh
# A target that is none: it prints what the suite would print on a target that behaves as $1 says. $2 is the command line
# of the guest. The suite that it plays has four tests, of which a.skip does not apply.
behaviour=$1
after=
for word in $2; do
    case $word in
    after=*) after=${word#after=} ;;
    only=*) only=${word#only=} ;;
    esac
done

remaining="a.one a.two a.skip b.three"
if [ -n "$after" ]; then
    case "$remaining" in *"$after "*) remaining=${remaining#*"$after "} ;; *) remaining= ;; esac
fi
selected=
for test in $remaining; do
    case $test in "$only"*) selected="$selected $test" ;; esac
done
set -- $selected

say() { printf '%s\r\n' "$*"; }
verdict_of() { case $1 in *.skip) echo "skip absent" ;; *) echo pass ;; esac; }

say "firmware: hello"
case $behaviour in
mute) exit 0 ;;
silent) exec sleep 60 ;;
garbage) head -c 100000 /dev/urandom; exit 0 ;;
other-format) say "suite: format 1, 4 tests"; exec sleep 60 ;;
esac

say "suite: format 2, version 9.9, $# tests, backend fake, ring 3"
for test; do say "plan: $test abi XX-001 XX-00${#test}"; done
passed=0 skipped=0 failed=0
for test; do
    printf 'test: %s ' "$test"
    case $behaviour:$test in
    crash:a.two | crash-always:*) say; say "REGISTER DUMP of $test"; exit 66 ;;
    crash-boot:a.two) say; exit 66 ;;
    signal:a.two) kill -9 $$ ;;
    text:a.two) say "hypervisor: panic"; exec sleep 60 ;;
    again:a.two) say; say "firmware: hello"; exec "$0" normal "" ;;
    hang:a.two) exec sleep 60 ;;
    endless:a.two) say; exec yes "the same again" ;;
    broken:a.two) say; say "suite: broken: it panicked"; exit 3 ;;
    fail:a.two) say "fail 1 of 2 checks; first: <&> it lies"; failed=1; continue ;;
    error:a.two) say "error no memory"; error=1; continue ;;
    noise:a.two) say "[hypervisor] a remark"; say "pass"; passed=$((passed + 1)); continue ;;
    no-verdict:a.two) say; continue ;;
    esac
    verdict=$(verdict_of "$test")
    say "$verdict"
    case $behaviour:$test in
    twice:a.two) say "test: $test fail"; failed=$((failed + 1)) ;;
    unplanned:a.two) say "test: z.z pass"; passed=$((passed + 1)) ;;
    garbled:a.two) say "test: pa" ;;
    between:a.two) exit 66 ;;
    esac
    case $verdict in pass) passed=$((passed + 1)) ;; *) skipped=$((skipped + 1)) ;; esac
done
case $behaviour in
wrong-counts) passed=77 ;;
cut-plan) exit 0 ;;
esac
[ "$behaviour" != cut-end ] || { printf 'suite: %s passed, 0 failed, 0 errors, %s skipped' $passed $skipped; exit 1; }
say "suite: $passed passed, $failed failed, ${error:-0} errors, $skipped skipped"
case $behaviour in
stays) exec sleep 60 ;;
wrong-status) exit 9 ;;
fail | error | twice) exit 3 ;;
esac
[ "$passed" -gt 0 ] || exit 3
exit 1
