/*
 * Boot sector of vamp-tracker-test: three address spaces take turns
 *
 * Each maps the first 2 MB to itself, in long mode. In each of them the CPU counts down from
 * a number that the test writes into the sector before it starts QEMU, and
 * never halts: so the shares of CPU time are those of the numbers.
 *
 * To make the array of vamp-tracker-boot.h:
 *   as --64 -o boot.o vamp-tracker-boot.S
 *   ld -Ttext 0x7c00 --oformat binary -o boot.bin boot.o
 *   xxd -i < boot.bin
 *
 * Copyright (c) 2026 The VAMP authors
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

        .set    TASK0, 0x10000
        .set    TASK1, 0x20000
        .set    TASK2, 0x30000
        .set    REPORT, 0x500           /* "VAMP", then rounds so far */

        .code16
        .globl  _start
_start:
        cli
        cld
        xorw    %ax, %ax
        movw    %ax, %ds
        lgdt    gdt_pointer
        movl    %cr0, %eax
        orb     $1, %al
        movl    %eax, %cr0
        ljmp    $8, $protected

        .code32
protected:
        movw    $16, %ax
        movw    %ax, %ds
        movw    %ax, %es
        movw    %ax, %ss
        movl    $0x7000, %esp
        movl    $TASK0, %edi
        call    make_task
        movl    $TASK1, %edi
        call    make_task
        movl    $TASK2, %edi
        call    make_task
        movl    $TASK0, %eax
        movl    %eax, %cr3
        movl    %cr4, %eax
        orb     $0x20, %al              /* PAE */
        movl    %eax, %cr4
        movl    $0xc0000080, %ecx       /* EFER.LME */
        rdmsr
        orb     $1, %ah
        wrmsr
        movl    %cr0, %eax
        orl     $0x80000000, %eax
        movl    %eax, %cr0
        ljmp    $24, $long_mode

/* Page tables at %edi: one entry in each of three levels. */
make_task:
        leal    0x1003(%edi), %eax      /* present, writable */
        call    make_table
        leal    0x1003(%edi), %eax
        call    make_table
        movl    $0x83, %eax             /* 2 MB */
make_table:
        stosl
        xorl    %eax, %eax
        movl    $1023, %ecx
        rep stosl
        ret

        .code64
long_mode:
        movl    $0, REPORT + 4
        movl    $0x504d4156, REPORT

round:
        movl    $TASK0, %eax
        movl    numbers, %ecx
        call    run_task
        movl    $TASK1, %eax
        movl    numbers + 4, %ecx
        call    run_task
        movl    $TASK2, %eax
        movl    numbers + 8, %ecx
        call    run_task
        incl    REPORT + 4
        jmp     round

/* In the address space %rax, for %ecx turns. */
run_task:
        movq    %rax, %cr3
1:      decl    %ecx
        jnz     1b
        ret

        .balign 8
gdt:
        .quad   0
        .quad   0x00cf9a000000ffff      /* flat code */
        .quad   0x00cf92000000ffff      /* flat data */
        .quad   0x00af9a000000ffff      /* 64-bit code */
gdt_pointer:
        .word   gdt_pointer - gdt - 1
        .long   gdt

        .org    0x1e0
numbers:
        .long   0, 0, 0

        .org    0x1fe
        .word   0xaa55
