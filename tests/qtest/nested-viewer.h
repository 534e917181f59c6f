/*
 * A VNC viewer on the host of the nested machine
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#ifndef TESTS_QTEST_NESTED_VIEWER_H
#define TESTS_QTEST_NESTED_VIEWER_H

#include "nested.h"

/**
 * NestedViewer - a viewer, connected to a screen of the guest
 */
typedef struct NestedViewer NestedViewer;

/**
 * nested_viewer_new - connect a viewer
 * @machine: where the guest runs
 * @head: its connector's index
 *
 * Fails the test when the device model does not accept it.
 *
 * Returns: the viewer
 */
NestedViewer *nested_viewer_new(NestedMachine *machine, unsigned int head);

/**
 * nested_viewer_expect - wait until a viewer has been sent a picture
 * @viewer: the viewer
 * @expected: the picture, which is freed
 *
 * Only what the device model sends of its own accord counts: the viewer asks
 * for changes. When it does not come within NESTED_PATIENCE, what is seen is
 * written to the machine's directory and the test fails.
 */
void nested_viewer_expect(NestedViewer *viewer, NestedPicture *expected);

/**
 * nested_viewer_free - disconnect a viewer
 * @viewer: the viewer
 */
void nested_viewer_free(NestedViewer *viewer);

#endif /* TESTS_QTEST_NESTED_VIEWER_H */
